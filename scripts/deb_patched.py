# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of Debian's own source packages with our series in them.

debian/patches gets the commits that ./stack export writes, and the rest of
debian/ what they make necessary: a changelog entry, dependencies between what
is patched, and what patches/UPSTREAM/debian has, line by line after what is in
Debian's file of the same name.
"""

import datetime
import email.utils
import fnmatch
import re
import shutil

import export
import series
import series_apply
import sources
from core import ROOT, StackError, git, load_upstreams, rel
from fetch import Apt, upstream_version

RELEASE, NAME = 'trixie', 'Debian 13'
# After Debian's version, and after a rebuild of that (+b1), but before its next
# one: +deb13u1 in a stable release, or what comes in place of -1.
SUFFIX = '+bpower'
# what makes apt remove another package, or keep it
RELATIONS = ['Breaks', 'Conflicts', 'Replaces', 'Provides']


def our_version(stock, number):
    return f'{stock}{SUFFIX}{number}'


def sources_of(package, stock, accept, found):
    """Which sources will do, of those found: [(suite, version)].

    Debian's own, or one with the same upstream release if that isn't served:
    the patches are for the release, and packaging hardly changes.
    """
    release = upstream_version(stock)
    if not any(fnmatch.fnmatch(release, pattern) for pattern in accept):
        raise StackError(f'{NAME} has {package} {release}; the series is for '
                         + ' or '.join(accept),
                         'docs/developing.rst says how to move to a new version')
    return [entry for entry in found if upstream_version(entry[1]) == release]


def download(layout, upstream):
    """(stock version, version of the source, its .dsc, its unpacked tree)."""
    apt = Apt(layout, RELEASE, updates=True)
    versions = apt.source_versions(upstream.package)
    if not versions:
        raise StackError(f'{NAME} has no source of {upstream.title}')
    stock = versions[0]
    apts = {RELEASE: apt}
    found = [(RELEASE, stock)]
    for suite in upstream.suites:
        apts.setdefault(suite, Apt(layout, suite))
        found += [(suite, version) for version
                  in apts[suite].source_versions(upstream.package)]
    refused = []
    candidates = sources_of(upstream.package, stock, upstream.accept, found)
    for suite, version in dict.fromkeys(candidates):
        try:
            folder, name = apts[suite].download_source(upstream.package,
                                                       version)
        except StackError as e:
            refused.append(str(e))
            continue
        return stock, version, folder / f'{name}.dsc', apts[suite]
    raise StackError('\n'.join(refused), 'try again later, or with another '
                     'mirror in apt\'s sources')


def packages_of(apt, source):
    """{package: fields} of what Debian has made of a source package."""
    sources = stanzas(apt.run('apt-cache', 'showsrc', '--only-source',
                              source).stdout)
    names = re.split(r'[,\s]+', sources[0]['Binary'])
    return {fields['Package']: fields for fields in stanzas(apt.run(
        'apt-cache', 'show', '--no-all-versions', *names).stdout)}


def repository(place, upstream, apt, version):
    """A repository of the unpatched source, and of what is embedded in it."""
    upstream, = load_upstreams(place.layout, [upstream.name])
    state = (series.load_state(upstream.repo)
             if sources.has_base(upstream.repo) else {})
    if state.get('version') != version:
        new = apt.fetch_source(upstream.package, version, upstream.repo)
        sources.make_repositories(place.layout, upstream, new, version)
        series.save_state(new, version=version)
        shutil.rmtree(upstream.repo, ignore_errors=True)
        new.rename(upstream.repo)
    return upstream


def quilt_patches(place, upstream):
    """{name: bytes} in their order, and the last commit.

    Those of an embedded upstream come first: the others use what is in them.
    """
    every, last = {}, None
    for u, repo in reversed(sources.with_embedded(place.layout, upstream)):
        tip = export.build_chain(u, repo)
        last = series.Commit(repo, tip)
        inside = '' if u is upstream else f'{repo.relative_to(upstream.repo)}/'
        for number, commit in enumerate(series.commits_of(repo, tip), 1):
            subject = re.sub(r'[^A-Za-z0-9._]+', '-', commit.subject)[:52]
            name = f'power/{u.name}-{number:02d}-{subject.strip("-.")}.patch'
            every[name] = git(
                repo, 'format-patch', '--stdout', '-1', '-N', '--zero-commit',
                '--no-signature', '--no-renames', '--diff-algorithm=myers',
                '--stat=72', f'--src-prefix=a/{inside}',
                f'--dst-prefix=b/{inside}', commit.sha, binary=True)
    return every, last


def revision(place, upstream):
    """How often the project has changed what goes into the package."""
    paths = []
    for u, _ in sources.with_embedded(place.layout, upstream):
        paths += [rel(u.series_dir)] + [
            rel(u.overlay_file(path))
            for path in series_apply.overlay_paths(series.patches_of(u))]
    count = git(ROOT, 'rev-list', '--count', 'HEAD', '--', *paths, check=False)
    return int(count or 1)


def changelog(old, version, borrowed, last, count):
    """Debian's changelog with an entry of ours; its date is the series'."""
    lines = ['  * Local package: SPICE clients can control the power of a '
             'machine,', f'    by the {count} patches in debian/patches/power.']
    if borrowed:
        old_version = re.match(r'\S+ \((\S+)\)', old).group(1)
        lines.append(f'  * The packaging is that of {old_version}.')
    return with_entry(old, version, lines, last.author)


def with_entry(old, version, lines, author):
    """A changelog with another entry."""
    package = old.split()[0]
    old_date = email.utils.parsedate_to_datetime(
        re.search(r'^ -- .*>  (.*)$', old, re.M).group(1)).timestamp()
    name, address, when = author
    date = email.utils.format_datetime(datetime.datetime.fromtimestamp(
        max(int(when.split()[0]), old_date + 1), datetime.timezone.utc))
    return (f'{package} ({version}) {RELEASE}; urgency=medium\n\n'
            + '\n'.join(lines)
            + f'\n\n -- {name} <{address}>  {date}\n\n' + old)


def with_dependencies(control, built):
    """A control file that wants the development packages of ours."""
    for package, least in built.items():
        control = re.sub(rf'(?<![-\w]){package}(?![-\w])( *\([^)]*\))?',
                         f'{package} (>= {least})', control)
    return control


def with_relations(control, stock):
    """A control file that gets on with others as Debian's packages do.

    The packaging of another release may name versions which that one knows;
    stock is {package: fields} of the packages that are replaced.
    """
    parts = re.split(r'(\n\s*\n)', control)
    for i, part in enumerate(parts):
        for stanza in stanzas(part):
            fields = stock.get(stanza.get('Package'), {})
            for name in RELATIONS if fields else ():
                if '${' in stanza.get(name, ''):
                    continue
                part = re.sub(rf'^{name}:.*\n?(?:[ \t].*\n?)*', '', part,
                              flags=re.M)
                if name in fields:
                    part = part.replace(
                        'Description:', f'{name}: {fields[name]}\nDescription:',
                        1)
        parts[i] = part
    return ''.join(parts)


def debian_directory(place, upstream, version, borrowed, built):
    """{path below debian/: bytes}, what differs from Debian's own.

    borrowed is {package: fields} of the packages that are replaced, if it is of
    another version than theirs; built is {development package: the version of
    ours}.
    """
    repo = upstream.repo
    patches, last = quilt_patches(place, upstream)

    def old(path):
        return git(repo, 'show', f'base:debian/{path}', check=False)

    files = {f'patches/{name}': data for name, data in patches.items()}
    lines = (old('patches/series') or '').splitlines() + list(patches)
    files['patches/series'] = '\n'.join(lines) + '\n'
    files['changelog'] = changelog(old('changelog') + '\n', version, borrowed,
                                   last, len(patches))
    # the first two are what some packages make the third from
    for path in ('control-in', 'control.in', 'control'):
        text = old(path)
        if text is None:
            continue
        changed = with_relations(with_dependencies(text, built), borrowed)
        if changed != text:
            files[path] = changed + '\n'
    for u in load_upstreams(place.layout):
        if upstream.name in u.embedded_in:
            # made from spice.proto, and again by the build: a stale one would
            # be found first
            embedded = u.config['embedded']
            add(files, 'clean', old('clean'), ''.join(
                f'{embedded["path"]}/{pattern}\n'
                for pattern in embedded.get('remove', [])))
    for path in sorted((upstream.series_dir / 'debian').glob('*')):
        least = version[:version.index(SUFFIX) + len(SUFFIX)] + '~'
        text = re.sub(r'^# .*\n', '', path.read_text(), flags=re.M)
        add(files, path.name, old(path.name),
            text.replace('#VERSION#', least))
    return {path: text if isinstance(text, bytes) else
            text.encode(errors='surrogateescape')
            for path, text in files.items()}


def add(files, path, old, text):
    if path not in files:
        files[path] = old + '\n' if old else ''
    files[path] += text


def stanzas(control):
    """[{field: value}] of a control file."""
    found = []
    for stanza in re.split(r'\n\s*\n', re.sub(r'^#.*\n', '', control,
                                              flags=re.M)):
        fields = re.findall(r'^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)', stanza,
                            re.M)
        if fields:
            found.append(dict(fields))
    return found
