/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz the generated demarshallers: with SERVER those of the server, which read
 * what clients send, otherwise those of the client, which read what servers
 * send. What was made of the bytes is then read, as the programs do.
 */
#include <config.h>

#include <glib.h>
#include <spice/protocol.h>
#include <common/demarshallers.h>
#include <common/messages.h>

#include "input.h"

static uint32_t sum;

static void read_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = data;

    while (size-- > 0) {
        sum += *bytes++;
    }
}

/* The fields of the power messages; of others, all bytes of the struct. */
static void read_message(uint32_t channel, uint16_t type, uint8_t *parsed, size_t size)
{
    read_bytes(parsed, size);
    if (channel != SPICE_CHANNEL_MAIN) {
        return;
    }
#ifdef SERVER
    if (type >= SPICE_MSGC_MAIN_POWER_RESET && type <= SPICE_MSGC_MAIN_POWER_CONTINUE) {
        SpiceMsgcMainPowerRequest *msg = (SpiceMsgcMainPowerRequest *)parsed;

        sum += msg->request_id;
    }
#else
    if (type == SPICE_MSG_MAIN_POWER_STATE) {
        SpiceMsgMainPowerState *msg = (SpiceMsgMainPowerState *)parsed;

        sum += msg->state + msg->allowed + msg->possible;
    } else if (type == SPICE_MSG_MAIN_POWER_RESULT) {
        SpiceMsgMainPowerResult *msg = (SpiceMsgMainPowerResult *)parsed;

        sum += msg->request_id + msg->result;
        read_bytes(msg->message, msg->message_len);
        sum += g_utf8_validate((const char *)msg->message, msg->message_len, NULL);
    }
#endif
}

static void no_log(const gchar *domain, GLogLevelFlags level, const gchar *text,
                   gpointer data)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    /* bad input is warned about */
    g_log_set_default_handler(no_log, NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    uint32_t channel = input_u8(&in);
    uint16_t type = input_u16(&in);
    spice_parse_channel_func_t parser;
    message_destructor_t free_message;
    unsigned int max_type;
    size_t parsed_size;
    uint8_t *bytes, *parsed;

#ifdef SERVER
    parser = spice_get_client_channel_parser(channel, &max_type);
#else
    parser = spice_get_server_channel_parser(channel, &max_type);
#endif
    if (parser == NULL) {
        return -1;
    }
    /* as long as the message, so that ASan sees what is read after it */
    bytes = malloc(in.size);
    memcpy(bytes, in.data, in.size);
    parsed = parser(bytes, bytes + in.size, type, 0, &parsed_size, &free_message);
    if (parsed != NULL) {
        read_message(channel, type, parsed, parsed_size);
        free_message(parsed);
    }
    free(bytes);
    return 0;
}
