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
/**
 * @file test-sasl-mock.h
 * A SASL library with one mechanism, which lets everybody in unless a test says
 * otherwise. To be included once in a program: it takes the place of the real library, see
 * test-sasl.c.
 */
#ifndef TEST_SASL_MOCK_H_
#define TEST_SASL_MOCK_H_

#include <sasl/sasl.h>

static sasl_conn_t *const test_sasl_conn = (sasl_conn_t *) &test_sasl_conn;
static const char *test_sasl_username;
/* how many clients began to authenticate with SASL */
static unsigned int test_sasl_n_conns;
/* where the last of them is, empty if the library was not told */
static char test_sasl_remote[128];
/* what comes of it, and how strong the mechanism's own encryption is then */
static int test_sasl_result = SASL_OK;
static sasl_ssf_t test_sasl_ssf = 64;

int sasl_server_init(const sasl_callback_t *callbacks, const char *appname)
{
    return SASL_OK;
}

int sasl_server_new(const char *service, const char *serverFQDN, const char *user_realm,
                    const char *iplocalport, const char *ipremoteport,
                    const sasl_callback_t *callbacks, unsigned flags, sasl_conn_t **pconn)
{
    g_strlcpy(test_sasl_remote, ipremoteport ? ipremoteport : "", sizeof(test_sasl_remote));
    test_sasl_n_conns++;
    *pconn = test_sasl_conn;
    return SASL_OK;
}

void sasl_dispose(sasl_conn_t **pconn)
{
    g_assert_true(*pconn == test_sasl_conn);
    *pconn = nullptr;
}

int sasl_setprop(sasl_conn_t *conn, int propnum, const void *value)
{
    return SASL_OK;
}

int sasl_getprop(sasl_conn_t *conn, int propnum, const void **pvalue)
{
    g_assert_true(conn == test_sasl_conn);
    if (propnum == SASL_SSF) {
        *pvalue = &test_sasl_ssf;
        return SASL_OK;
    }
    g_assert_cmpint(propnum, ==, SASL_USERNAME);
    if (!test_sasl_username) {
        return SASL_NOTDONE;
    }
    *pvalue = test_sasl_username;
    return SASL_OK;
}

int sasl_listmech(sasl_conn_t *conn, const char *user, const char *prefix, const char *sep,
                  const char *suffix, const char **result, unsigned *plen, int *pcount)
{
    *result = ",ONE,";
    return SASL_OK;
}

int sasl_server_start(sasl_conn_t *conn, const char *mech, const char *clientin,
                      unsigned clientinlen, const char **serverout, unsigned *serveroutlen)
{
    *serverout = nullptr;
    *serveroutlen = 0;
    return test_sasl_result;
}

const char *sasl_errdetail(sasl_conn_t *conn)
{
    return "the test says so";
}

int sasl_encode(sasl_conn_t *conn, const char *input, unsigned inputlen,
                const char **output, unsigned *outputlen)
{
    *output = input;
    *outputlen = inputlen;
    return SASL_OK;
}

int sasl_decode(sasl_conn_t *conn, const char *input, unsigned inputlen,
                const char **output, unsigned *outputlen)
{
    *output = input;
    *outputlen = inputlen;
    return SASL_OK;
}

#endif /* TEST_SASL_MOCK_H_ */
