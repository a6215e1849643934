/*
   SPDX-License-Identifier: LGPL-2.1-or-later

   This library is free software; you can redistribute it and/or
   modify it under the terms of the GNU Lesser General Public
   License as published by the Free Software Foundation; either
   version 2.1 of the License, or (at your option) any later version.

   This library is distributed in the hope that it will be useful,
   but WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
   Lesser General Public License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with this library; if not, see <http://www.gnu.org/licenses/>.
*/
/*
 * Proxies: whoever connects from their addresses says first for whom it does, in the PROXY
 * protocol.
 */
#ifndef PROXIES_H_
#define PROXIES_H_

#include <list>

#include "red-common.h"
#include "safe-list.hpp"
#include "utils.hpp"

#include "push-visibility.h"

struct RedProxyConnection;

struct RedProxyNetwork
{
    size_t size; // of an address: 4 in IPv4, 16 in IPv6
    uint8_t bytes[16];
    unsigned int prefix; // so many bits of it
};

/* Those of a server, and their connections for as long as it's not known whose they are. */
class RedProxies final
{
public:
    SPICE_CXX_GLIB_ALLOCATOR
    explicit RedProxies(RedsState *reds);
    // closes these connections
    ~RedProxies();

    // see spice_server_set_proxies(); returns false, and has changed nothing, if it's no list
    bool set(const char *addresses);
    // If somebody who has connected is a proxy, read its header and then add the client.
    // Returns false, and has done nothing, if it is none.
    bool take(int socket, bool tls);

private:
    friend struct RedProxyConnection;
    typedef std::list<RedProxyNetwork, red::Mallocator<RedProxyNetwork>> NetworkList;

    bool contain(const struct sockaddr_storage *addr) const;

    RedsState *const reds;
    NetworkList networks;
    bool unix_socket = false;
    // the oldest one first
    std::list<RedProxyConnection *, red::Mallocator<RedProxyConnection *>> connections;
};

#include "pop-visibility.h"

#endif /* PROXIES_H_ */
