# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that files tell of: a list, and spice-gateway's configuration."""

import configparser

from .common import PROXY, Trouble, endpoint, host_name, resolved


def listed(path):
    """{name: endpoint} of a file with lines NAME ADDRESS TLS-PORT [proxy]."""
    found = {}
    try:
        text = path.read_text(errors='replace')
    except OSError as error:
        raise Trouble(f'{path}: {error.strerror}')
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition('#')[0].split()
        if not words:
            continue
        place = f'{path}:{number}'
        if len(words) != 3 and words[3:] != [PROXY]:
            raise Trouble(f'{place}: {len(words)} words: a line is NAME '
                          f'ADDRESS TLS-PORT, and {PROXY} if that machine '
                          'reads the PROXY protocol')
        name = host_name(words[0])
        if not name:
            raise Trouble(f"{place}: '{words[0]}' is not the name of a host")
        try:
            value = endpoint(words[1], words[2], words[3:])
        except ValueError as error:
            raise Trouble(f'{place}: {error}')
        if found.setdefault(name, value) != value:
            raise Trouble(f'{place}: {name} has been {found[name]} before')
    return found


class Gateway:
    """The machines of a spice-gateway: its directory's machines/*.conf."""

    def __init__(self, directory, suffix, one_port):
        """One_port is the endpoint of those without a port of their own."""
        self.directory, self.suffix = directory, suffix
        self.one_port = one_port

    def keys(self, path):
        parser = configparser.ConfigParser(
            delimiters='=', comment_prefixes='#', strict=False,
            interpolation=None, empty_lines_in_values=False)
        try:
            parser.read_string(path.read_text(errors='replace'))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Trouble(f'{path}: {error.strerror}')
        except configparser.Error as error:
            raise Trouble(f'{path}: {" ".join(str(error).split())}')
        return parser

    def machines(self):
        """({name: endpoint} of hosts, the same of libvirt's domains)"""
        hosts, domains = {}, {}
        try:
            paths = sorted((self.directory / 'machines').iterdir())
        except OSError as error:
            raise Trouble(f'{error.filename}: {error.strerror}')
        defaults = self.keys(self.directory / 'defaults.conf')
        for path in paths:
            if path.suffix != '.conf' or path.name.startswith('.'):
                continue
            own = self.keys(path)
            template = own.get('machine', 'template', fallback=None)
            files = [own, *([self.keys(self.directory / 'templates'
                                       / f'{template}.conf')]
                            if template else []), defaults]

            def key(group, name, default=None):
                for file in files:
                    value = file.get(group, name, fallback=None)
                    if value is not None:
                        return (value if file is own else
                                value.replace('{name}', path.stem)).strip()
                return default
            name = host_name(path.stem, self.suffix)
            if not name:
                raise Trouble(f"{path}: '{path.stem}' is not the name of a "
                              'host')
            found = (domains if key('power', 'backend') == 'libvirt'
                     else hosts)
            found[name] = self.endpoint(path, key('server', 'address'),
                                        key('server', 'tls-port'))
        return hosts, domains

    def endpoint(self, path, address, port):
        if port is None:
            return self.one_port
        try:
            address = resolved(address or '127.0.0.1')
            if address.is_unspecified:
                address = '127.0.0.1' if address.version == 4 else '::1'
            return endpoint(address, port)
        except (OSError, UnicodeError, ValueError) as error:
            raise Trouble(f'{path}: [server] address and tls-port: '
                          f'{getattr(error, "strerror", None) or error}')
