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
 * Check the bytes on the wire of the main channel's power messages,
 * what server marshallers write and what demarshallers accept.
 */
#include <config.h>

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include <common/demarshallers.h>
#include <common/generated_server_marshallers.h>
#include <common/marshaller.h>
#include <common/messages.h>

static const uint8_t state_data[] = {
    0x03, /* state */
    0x1b, 0x00, 0x00, 0x00, /* allowed */
    0x13, 0x00, 0x00, 0x00, /* possible */
};

static const uint8_t result_data[] = {
    0x44, 0x33, 0x22, 0x11, /* request_id */
    0x02, /* result */
    0x03, 0x00, 0x00, 0x00, /* message_len */
    'o', 'f', 'f', /* message */
};

static const uint8_t request_data[] = {
    0x44, 0x33, 0x22, 0x11, /* request_id */
    0xaa, 0xbb, /* unknown fields */
};

static const uint16_t request_types[] = {
    SPICE_MSGC_MAIN_POWER_RESET,
    SPICE_MSGC_MAIN_POWER_OFF,
    SPICE_MSGC_MAIN_POWER_ON,
    SPICE_MSGC_MAIN_POWER_PAUSE,
    SPICE_MSGC_MAIN_POWER_CONTINUE,
};

/* a copy of exactly the given size, so that tools see reads after the end */
static void *parse(spice_parse_channel_func_t func, const uint8_t *data, size_t len,
                   uint16_t type, message_destructor_t *free_message)
{
    size_t size;
    uint8_t *copy = g_malloc(MAX(len, 1));
    uint8_t *msg;

    memcpy(copy, data, len);
    msg = func(copy, copy + len, type, 0, &size, free_message);
    g_free(copy);
    return msg;
}

static void assert_marshalled(SpiceMarshaller *m, const uint8_t *expected, size_t expected_len)
{
    size_t len;
    int free_data;
    uint8_t *data;

    spice_marshaller_flush(m);
    data = spice_marshaller_linearize(m, 0, &len, &free_data);
    g_assert_cmpmem(data, len, expected, expected_len);
    if (free_data) {
        free(data);
    }
    spice_marshaller_reset(m);
}

static void test_state(void)
{
    const SpiceMsgMainPowerState state = {
        SPICE_POWER_STATE_PAUSED,
        SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF | SPICE_POWER_ACTION_PAUSE |
            SPICE_POWER_ACTION_CONTINUE,
        SPICE_POWER_ACTION_RESET | SPICE_POWER_ACTION_OFF | SPICE_POWER_ACTION_CONTINUE
    };
    SpiceMarshaller *m = spice_marshaller_new();

    spice_marshall_msg_main_power_state(m, &state);
    assert_marshalled(m, state_data, sizeof(state_data));
    spice_marshaller_destroy(m);

    unsigned int max_type;
    message_destructor_t free_message;
    spice_parse_channel_func_t func = spice_get_server_channel_parser(SPICE_CHANNEL_MAIN, &max_type);
    g_assert_cmpuint(max_type, ==, 120);

    SpiceMsgMainPowerState *msg =
        parse(func, state_data, sizeof(state_data), SPICE_MSG_MAIN_POWER_STATE, &free_message);
    g_assert_nonnull(msg);
    g_assert_cmpuint(msg->state, ==, state.state);
    g_assert_cmpuint(msg->allowed, ==, state.allowed);
    g_assert_cmpuint(msg->possible, ==, state.possible);
    free_message((uint8_t *) msg);

    for (size_t len = 0; len < sizeof(state_data); len++) {
        g_assert_null(parse(func, state_data, len, SPICE_MSG_MAIN_POWER_STATE, &free_message));
    }
}

static void test_result(void)
{
    const SpiceMsgMainPowerResult result = { 0x11223344, SPICE_POWER_RESULT_WRONG_STATE, 3 };
    SpiceMarshaller *m = spice_marshaller_new();

    spice_marshall_msg_main_power_result(m, &result);
    spice_marshaller_add(m, (const uint8_t *) "off", 3);
    assert_marshalled(m, result_data, sizeof(result_data));
    spice_marshaller_destroy(m);

    unsigned int max_type;
    message_destructor_t free_message;
    spice_parse_channel_func_t func = spice_get_server_channel_parser(SPICE_CHANNEL_MAIN, &max_type);

    SpiceMsgMainPowerResult *msg =
        parse(func, result_data, sizeof(result_data), SPICE_MSG_MAIN_POWER_RESULT, &free_message);
    g_assert_nonnull(msg);
    g_assert_cmpuint(msg->request_id, ==, result.request_id);
    g_assert_cmpuint(msg->result, ==, result.result);
    g_assert_cmpuint(msg->message_len, ==, 3);
    /* the demarshaller adds the terminator */
    g_assert_cmpmem(msg->message, 4, "off", 4);
    free_message((uint8_t *) msg);

    /* this includes a message_len that is more than what follows */
    for (size_t len = 0; len < sizeof(result_data); len++) {
        g_assert_null(parse(func, result_data, len, SPICE_MSG_MAIN_POWER_RESULT, &free_message));
    }

    uint8_t huge[sizeof(result_data)];
    memcpy(huge, result_data, sizeof(huge));
    memset(huge + 5, 0xff, 4);
    g_assert_null(parse(func, huge, sizeof(huge), SPICE_MSG_MAIN_POWER_RESULT, &free_message));
}

static void test_request(void)
{
    unsigned int max_type;
    message_destructor_t free_message;
    spice_parse_channel_func_t func = spice_get_client_channel_parser(SPICE_CHANNEL_MAIN, &max_type);
    g_assert_cmpuint(max_type, ==, 117);

    for (unsigned int i = 0; i < G_N_ELEMENTS(request_types); i++) {
        g_assert_cmpuint(request_types[i], ==, 113 + i);

        /* a short body is refused, what follows request_id is ignored */
        for (size_t len = 0; len <= sizeof(request_data); len++) {
            SpiceMsgcMainPowerRequest *msg =
                parse(func, request_data, len, request_types[i], &free_message);
            if (len < 4) {
                g_assert_null(msg);
                continue;
            }
            g_assert_nonnull(msg);
            g_assert_cmpuint(msg->request_id, ==, 0x11223344);
            free_message((uint8_t *) msg);
        }
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/spice-common/power/state", test_state);
    g_test_add_func("/spice-common/power/result", test_result);
    g_test_add_func("/spice-common/power/request", test_request);

    return g_test_run();
}
