# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bash completion for spicy-power(1)

_spicy_power()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local actions='status state reset off on cycle pause continue resume wait monitor'
    local states='off on paused suspended crashed'
    local flags='--json --replace --version --help --help-spice'
    local valued='--uri --host --port --secure-port --user --password-file --timeout
                  --connect-timeout'

    # bash takes = for a word of its own
    [ "$cur" = = ] && cur=
    [ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD - 2]}
    case $prev in
    wait)
        mapfile -t COMPREPLY < <(compgen -W "$states" -- "$cur")
        return ;;
    --password-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return ;;
    --uri|--host|-h|--port|-p|--secure-port|-s|--password|-w|--user|--timeout|--connect-timeout)
        return ;;
    esac
    case $cur in
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur"
                                 compgen -W "$valued" -S = -- "$cur")
        [[ ${COMPREPLY-} == *= ]] && compopt -o nospace 2>/dev/null ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W "$actions" -- "$cur"
                                 compgen -f -X '!*.vv' -- "$cur") ;;
    esac
}

complete -F _spicy_power spicy-power
