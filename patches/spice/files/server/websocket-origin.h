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
 * Origins, as RFC 6454 has them: who a browser says has sent a page.
 */
#ifndef WEBSOCKET_ORIGIN_H_
#define WEBSOCKET_ORIGIN_H_

#include <stdbool.h>
#include <spice/macros.h>

SPICE_BEGIN_DECLS

/* Whether this is a list of origins, with spaces in between, or "*" for any. If it isn't,
 * *wrong is set to what is not an origin, to free with g_free(). */
bool websocket_origins_are_valid(const char *origins, char **wrong);
/* Whether an Origin header is one of such a list. */
bool websocket_origins_contain(const char *origins, const char *origin);
/* Whether an Origin header means the host and port of a Host header. */
bool websocket_origin_is_host(const char *origin, const char *host);

SPICE_END_DECLS

#endif /* WEBSOCKET_ORIGIN_H_ */
