/*
 * To log in to a VNC server
 *
 * libgvnc could do that, but it does not tell which ways to log in a server
 * offers, nor why it refuses, and writes beyond its memory if there are more
 * than ten. So it finds a server that has let us in already, see vnc-relay.c.
 *
 * Each step says how many bytes it waits for, and which step takes them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <gio/gio.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>

#include "vnc-login.h"
#include "vnc-security.h"
#include "vnc-websocket.h"

#define VERSION_SIZE   12
#define CHALLENGE_SIZE 16
/* What comes beyond that of a reason, nobody reads */
#define MAX_REASON     512
#define MAX_HTTP       16384

typedef void (*Step)(VncLogin *login, const guint8 *data);

struct VncLogin {
    VncStream *stream;
    const MachineConfig *config;
    VncLoginDone done;
    gpointer opaque;
    guint source;               /* waits for the stream; or for the loop */

    Step next;                  /* takes so many bytes: */
    gsize wanted, have;
    guint8 data[1024];
    GByteArray *to_send;
    gboolean in_handshake;      /* of TLS: nothing else happens meanwhile */
    void (*go_on)(VncLogin *login); /* when that is done */

    char *key;                  /* of a WebSocket */
    GString *answer;            /* to it */

    int version;                /* 3, 7 or 8, of RFB 3 */
    guint vencrypt;             /* which of its ways; 0 is none */
    gboolean has_tried;         /* it knows what we are, and may refuse that */

    gboolean is_over, is_in;
    SourceGone kind;
    char *reason;
};

static void await(VncLogin *login, gsize size, Step next)
{
    g_assert(size <= sizeof(login->data));
    login->wanted = size;
    login->have = 0;
    login->next = next;
}

static void say(VncLogin *login, const void *data, gsize size)
{
    g_byte_array_append(login->to_send, data, size);
}

static void say_u32(VncLogin *login, guint32 value)
{
    guint32 data = g_htonl(value);

    say(login, &data, sizeof(data));
}

static guint32 u32_at(const guint8 *data)
{
    return (guint32)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
}

/* Takes @reason */
static void fail(VncLogin *login, SourceGone kind, char *reason)
{
    login->is_over = TRUE;
    login->is_in = FALSE;
    login->kind = kind;
    login->reason = reason;
}

/* When the last that is to be said is on its way */
static void let_in(VncLogin *login)
{
    login->is_in = TRUE;
}

/* --- its verdict --------------------------------------------------------- */

static const char *refusal(VncLogin *login)
{
    if (!login->has_tried) {
        return "the VNC server refuses the connection";
    }
    return login->vencrypt == VENCRYPT_X509_PLAIN ||
           login->vencrypt == VENCRYPT_TLS_PLAIN
           ? "the VNC server does not accept user and password: check [vnc]"
             " user and password-file"
           : "the VNC server does not accept the password: check [vnc]"
             " password-file";
}

/* Returns: what a server says, for a person; caller frees */
static char *readable(const guint8 *data, gsize size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    char *valid = g_utf8_make_valid(text, -1), *at;

    for (at = valid; *at; at++) {
        if (g_ascii_iscntrl(*at)) {
            *at = ' ';
        }
    }
    return g_strstrip(valid);
}

static void take_reason(VncLogin *login, const guint8 *data)
{
    g_autofree char *text = readable(data, login->wanted);

    fail(login, SOURCE_REFUSED,
         *text ? g_strdup_printf("%s; it says: %s", refusal(login), text)
               : g_strdup(refusal(login)));
}

static void take_reason_size(VncLogin *login, const guint8 *data)
{
    await(login, MIN(u32_at(data), MAX_REASON), take_reason);
}

static void take_result(VncLogin *login, const guint8 *data)
{
    if (u32_at(data) == 0) {
        let_in(login);
    } else if (login->version >= 8) {
        await(login, 4, take_reason_size);
    } else {
        fail(login, SOURCE_REFUSED, g_strdup(refusal(login)));
    }
}

/* --- what it wants ------------------------------------------------------- */

static void take_challenge(VncLogin *login, const guint8 *data)
{
    guint8 response[CHALLENGE_SIZE];

    vnc_answer_challenge(login->config->vnc_password, data, response);
    say(login, response, sizeof(response));
    login->has_tried = TRUE;
    await(login, 4, take_result);
}

static void give_user_and_password(VncLogin *login)
{
    const char *user = login->config->vnc_user;
    const char *password = login->config->vnc_password;

    say_u32(login, strlen(user));
    say_u32(login, strlen(password));
    say(login, user, strlen(user));
    say(login, password, strlen(password));
    login->has_tried = TRUE;
    await(login, 4, take_result);
}

/* TLS is there */
static void go_on_with_vencrypt(VncLogin *login)
{
    switch (login->vencrypt) {
    case VENCRYPT_X509_PLAIN:
    case VENCRYPT_TLS_PLAIN:
        give_user_and_password(login);
        break;
    case VENCRYPT_X509_PASSWORD:
    case VENCRYPT_TLS_PASSWORD:
        await(login, CHALLENGE_SIZE, take_challenge);
        break;
    default:
        await(login, 4, take_result);
    }
}

static void start_tls(VncLogin *login, gboolean anonymous,
                      void (*go_on)(VncLogin *login))
{
    const MachineConfig *config = login->config;
    const VncTrust trust = {
        .anonymous = anonymous,
        .ca_file = config->vnc_ca_file,
        .fingerprint = config->vnc_fingerprint,
        .host = config->vnc_host ?: "localhost",
    };
    g_autoptr(GError) error = NULL;

    login->go_on = go_on;
    if (vnc_stream_start_tls(login->stream, &trust, &error)) {
        login->in_handshake = TRUE;
    } else {
        fail(login, SOURCE_REFUSED, g_strdup(error->message));
    }
}

static void take_vencrypt_answer(VncLogin *login, const guint8 *data)
{
    if (data[0] == 1) {
        start_tls(login, !vencrypt_is_x509(login->vencrypt),
                  go_on_with_vencrypt);
    } else {
        fail(login, SOURCE_LOST, g_strdup("the VNC server takes none of the"
                                          " ways that it has offered"));
    }
}

static void take_vencrypt_types(VncLogin *login, const guint8 *data)
{
    guint32 types[255];
    guint count = login->wanted / 4, i;
    char *problem = NULL;

    for (i = 0; i < count; i++) {
        types[i] = u32_at(data + 4 * i);
    }
    login->vencrypt = vnc_choose_vencrypt(login->config, types, count,
                                          &problem);
    if (!login->vencrypt) {
        fail(login, SOURCE_REFUSED, problem);
        return;
    }
    say_u32(login, login->vencrypt);
    await(login, 1, take_vencrypt_answer);
}

static void take_vencrypt_count(VncLogin *login, const guint8 *data)
{
    await(login, data[0] * 4, take_vencrypt_types);
}

static void take_vencrypt_status(VncLogin *login, const guint8 *data)
{
    if (data[0]) {
        fail(login, SOURCE_REFUSED, g_strdup("the VNC server does not take"
                                             " VeNCrypt 0.2"));
    } else {
        await(login, 1, take_vencrypt_count);
    }
}

static void take_vencrypt_version(VncLogin *login, const guint8 *data)
{
    static const guint8 version[] = { 0, 2 };

    if (data[0] == 0 && data[1] < 2) {
        fail(login, SOURCE_REFUSED,
             g_strdup_printf("the VNC server has VeNCrypt %d.%d, spice-gateway"
                             " has 0.2", data[0], data[1]));
        return;
    }
    say(login, version, sizeof(version));
    await(login, 1, take_vencrypt_status);
}

/* --- version and ways to log in ------------------------------------------ */

static void choose(VncLogin *login, const guint32 *types, guint count)
{
    char *problem = NULL;
    guint type = vnc_choose_security(login->config, types, count, &problem);
    guint8 byte = type;

    if (!type) {
        fail(login, SOURCE_REFUSED, problem);
        return;
    }
    /* Before, the server has chosen */
    if (login->version >= 7) {
        say(login, &byte, 1);
    }
    if (type == VNC_SECURITY_VENCRYPT) {
        await(login, 2, take_vencrypt_version);
    } else if (type == VNC_SECURITY_PASSWORD) {
        await(login, CHALLENGE_SIZE, take_challenge);
    } else if (login->version >= 8) {
        await(login, 4, take_result);
    } else {
        let_in(login);
    }
}

static void take_types(VncLogin *login, const guint8 *data)
{
    guint32 types[255];
    guint count = login->wanted, i;

    for (i = 0; i < count; i++) {
        types[i] = data[i];
    }
    choose(login, types, count);
}

static void take_count(VncLogin *login, const guint8 *data)
{
    if (data[0]) {
        await(login, data[0], take_types);
    } else {
        await(login, 4, take_reason_size);
    }
}

static void take_one_type(VncLogin *login, const guint8 *data)
{
    guint32 type = u32_at(data);

    if (type) {
        choose(login, &type, 1);
    } else {
        await(login, 4, take_reason_size);
    }
}

/*
 * There are only 3.3, 3.7 and 3.8, whatever servers call theirs: 3.5 is 3.3,
 * and Apple's 3.889, AMT's 4.0 and RealVNC's 5.0 have taken 3.8.
 */
static int known_version(int major, int minor)
{
    if (major < 3 || (major == 3 && minor < 3)) {
        return 0;
    }
    return major > 3 || minor > 7 ? 8 : minor == 7 ? 7 : 3;
}

static void take_version(VncLogin *login, const guint8 *data)
{
    g_autofree char *text = readable(data, VERSION_SIZE);
    g_autofree char *answer = NULL;
    int major = 0, minor = 0;

    if (sscanf(text, "RFB %3d.%3d", &major, &minor) != 2) {
        fail(login, SOURCE_LOST,
             g_strdup_printf("what is there is no VNC server, it begins with"
                             " \"%s\"", text));
        return;
    }
    login->version = known_version(major, minor);
    if (!login->version) {
        fail(login, SOURCE_LOST,
             g_strdup_printf("the VNC server says \"%s\", which is before"
                             " 003.003; a repeater, perhaps", text));
        return;
    }
    answer = g_strdup_printf("RFB 003.%03d\n", login->version);
    say(login, answer, VERSION_SIZE);
    if (login->version == 3) {
        await(login, 4, take_one_type);
    } else {
        await(login, 1, take_count);
    }
}

/* --- a WebSocket, before all of this -------------------------------------- */

static void take_http(VncLogin *login, const guint8 *data)
{
    SourceGone kind;
    char *problem;

    g_string_append_c(login->answer, data[0]);
    if (login->answer->len > MAX_HTTP) {
        fail(login, SOURCE_LOST, g_strdup("the web server at [vnc] url does"
                                          " not stop talking"));
    } else if (!g_str_has_suffix(login->answer->str, "\r\n\r\n")) {
        await(login, 1, take_http);
    } else {
        problem = vnc_websocket_problem(login->answer->str, login->key,
                                        login->config->vnc_token != NULL,
                                        &kind);
        if (problem) {
            fail(login, kind, readable((guint8 *)problem, strlen(problem)));
            g_free(problem);
            return;
        }
        vnc_stream_start_frames(login->stream);
        await(login, VERSION_SIZE, take_version);
    }
}

static void begin_websocket(VncLogin *login)
{
    const MachineConfig *config = login->config;
    g_autofree char *request = NULL;

    login->key = vnc_websocket_key();
    login->answer = g_string_new(NULL);
    request = vnc_websocket_request(config->vnc_url, login->key,
                                    config->vnc_token, config->vnc_user,
                                    config->vnc_password);
    say(login, request, strlen(request));
    await(login, 1, take_http);
}

static void begin(VncLogin *login)
{
    const char *url = login->config->vnc_url;

    if (!url) {
        await(login, VERSION_SIZE, take_version);
    } else if (g_str_has_prefix(url, "wss:")) {
        start_tls(login, FALSE, begin_websocket);
    } else {
        begin_websocket(login);
    }
}

/* --- the stream ---------------------------------------------------------- */

/*
 * Who has got a password and hangs up without a word has refused it; one that
 * is asked for the result and does not answer has no reason to give.
 */
static void lose(VncLogin *login, GError *error)
{
    gboolean refused = login->has_tried || login->next == take_reason ||
                       login->next == take_reason_size;

    if (refused) {
        fail(login, SOURCE_REFUSED, g_strdup(refusal(login)));
    } else if (error) {
        gboolean stays = login->in_handshake &&
                         g_error_matches(error, G_IO_ERROR, G_IO_ERROR_FAILED);

        fail(login, stays ? SOURCE_REFUSED : SOURCE_LOST,
             readable((guint8 *)error->message, strlen(error->message)));
    } else {
        fail(login, SOURCE_LOST, g_strdup("the VNC server has closed the"
                                          " connection while logging in"));
    }
}

static gssize handshake(VncLogin *login, GError **error)
{
    int result = vnc_stream_handshake(login->stream, error);

    if (result == 0) {
        login->in_handshake = FALSE;
        login->go_on(login);
        return 1;
    }
    return result;
}

static gssize send_some(VncLogin *login, GError **error)
{
    gssize size = vnc_stream_write(login->stream, login->to_send->data,
                                   login->to_send->len, error);

    if (size > 0) {
        g_byte_array_remove_range(login->to_send, 0, size);
    }
    return size;
}

static gssize read_some(VncLogin *login, GError **error)
{
    gssize size = vnc_stream_read(login->stream, login->data + login->have,
                                  login->wanted - login->have, error);

    if (size > 0) {
        login->have += size;
    }
    return size;
}

/* Returns: more than 0 if it's to be called again; or VNC_STREAM_WAIT */
static gssize advance(VncLogin *login)
{
    g_autoptr(GError) error = NULL;
    gssize result;

    if (login->in_handshake) {
        result = handshake(login, &error);
    } else if (login->to_send->len) {
        result = send_some(login, &error);
    } else if (login->is_in) {
        login->is_over = TRUE;
        return 1;
    } else if (login->have < login->wanted) {
        result = read_some(login, &error);
    } else {
        login->next(login, login->data);
        return 1;
    }
    if (result == 0 || result == VNC_STREAM_BROKEN) {
        lose(login, error);
    }
    return result;
}

static gboolean stream_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    VncLogin *login = opaque;
    gssize result = 1;

    while (!login->is_over && result > 0) {
        result = advance(login);
    }
    login->source = 0;
    if (!login->is_over) {
        login->source = g_unix_fd_add(fd, vnc_stream_wants(login->stream),
                                      stream_ready, login);
    } else {
        g_autofree char *reason = g_steal_pointer(&login->reason);
        VncStream *stream = login->is_in ? g_steal_pointer(&login->stream)
                                         : NULL;

        login->done(stream, login->kind, reason, login->opaque);
    }
    return G_SOURCE_REMOVE;
}

/* ------------------------------------------------------------------------- */

VncLogin *vnc_login_new(VncStream *stream, const MachineConfig *config,
                        VncLoginDone done, gpointer opaque)
{
    VncLogin *login = g_new0(VncLogin, 1);

    login->stream = stream;
    login->config = config;
    login->done = done;
    login->opaque = opaque;
    login->to_send = g_byte_array_new();
    begin(login);
    login->source = g_unix_fd_add(vnc_stream_fd(stream), G_IO_IN | G_IO_OUT,
                                  stream_ready, login);
    return login;
}

void vnc_login_free(VncLogin *login)
{
    if (!login) {
        return;
    }
    g_clear_handle_id(&login->source, g_source_remove);
    g_byte_array_unref(login->to_send);
    vnc_stream_free(login->stream);
    g_free(login->key);
    if (login->answer) {
        g_string_free(login->answer, TRUE);
    }
    g_free(login->reason);
    g_free(login);
}
