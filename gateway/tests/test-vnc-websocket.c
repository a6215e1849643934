/*
 * VNC by WebSocket: servers that have it, and what is no such server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "certificate.h"
#include "vnc-fixture.h"

/* What it looks like for who sends no more than this at once */
static void check_websocket(Fixture *f, gsize frame_size)
{
    g_autofree char *request = rfb_start_websocket(f->server, frame_size);
    guint pongs = rfb_pongs(f->server), pictures = f->pictures;

    g_assert_true(g_str_has_prefix(request, "GET /kvm/0?a=b HTTP/1.1\r\n"));
    g_assert_nonnull(strstr(request, "\r\nSec-WebSocket-Protocol: binary\r\n"));
    g_assert_nonnull(strstr(request, "\r\nSec-WebSocket-Version: 13\r\n"));
    g_assert_nonnull(strstr(request, "\r\nAuthorization: Basic"
                            " bWU6c2VjcmV0\r\n"));
    rfb_log_in(f->server);
    rfb_init(f->server, 200, 100, &rfb_xrgb);
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    rfb_fill(f->server, 200, 100, orange, 4);
    RUN_UNTIL(f->pictures > pictures && shows(f, 200, 100, ORANGE));
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    g_assert_cmpuint(rfb_pongs(f->server), >, pongs);
}

static void test_websocket(void)
{
    static const gsize frame_sizes[] = { 1, 7, 125, 126, 100000 };
    g_autofree guint8 *pixels = g_malloc0(200 * 100 * 4);
    Fixture f = { 0 };
    guint i;

    prepare(&f);
    f.config.vnc_url = "ws://127.0.0.1/kvm/0?a=b";
    f.config.vnc_user = "me";
    f.config.vnc_password = "secret";
    for (i = 0; i < G_N_ELEMENTS(frame_sizes); i++) {
        start(&f);
        rfb_accept(f.server);
        check_websocket(&f, frame_sizes[i]);
        if (frame_sizes[i] > 100) {
            rfb_update(f.server, 1);
            rfb_rectangle(f.server, 0, 0, 200, 100, RFB_RAW);
            rfb_say(f.server, pixels, 200 * 100 * 4);
            RUN_UNTIL(shows(&f, 200, 100, 0));
        }
        f.source->methods->stop(f.source);
    }
    tear_down(&f, NULL);
}

static void test_secure_websocket(void)
{
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Certificate *made = certificate_new(directory, "made", "IP:127.0.0.1",
                                        DAY_S, NULL);
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_url = "wss://127.0.0.1/kvm/0?a=b";
    f.config.vnc_user = "me";
    f.config.vnc_password = "secret";
    f.config.vnc_ca_file = made->cert;
    start(&f);
    rfb_accept(f.server);
    g_assert_true(rfb_start_tls(f.server, made->cert, made->key));
    check_websocket(&f, 1000);
    f.source->methods->stop(f.source);

    f.config.vnc_ca_file = NULL;
    f.config.vnc_fingerprint = made->fingerprint;
    start(&f);
    rfb_accept(f.server);
    g_assert_true(rfb_start_tls(f.server, made->cert, made->key));
    check_websocket(&f, 1000);
    f.source->methods->stop(f.source);

    /* before user and password are told */
    f.config.vnc_fingerprint = NULL;
    start(&f);
    rfb_accept(f.server);
    rfb_start_tls(f.server, made->cert, made->key);
    check_gone(&f, SOURCE_REFUSED, "not to be trusted");
    rfb_wait_closed(f.server);
    tear_down(&f, NULL);
    certificate_free(made);
    remove_all(directory);
}

/* --- with the session that the machine's backend has ---------------------- */

static const char *token;       /* NULL: it has none */
static guint doubts;

static const char *session_token(gpointer opaque)
{
    return token;
}

static void session_doubt(gpointer opaque)
{
    doubts++;
}

static const SourceSession session = {
    .token = session_token,
    .doubt = session_doubt,
};

static void start_session(Fixture *f, const char *header)
{
    g_autofree char *request = NULL;

    start(f);
    rfb_accept(f->server);
    request = rfb_start_websocket(f->server, 1000);
    g_assert_nonnull(strstr(request, header));
    g_assert_null(strstr(request, "Authorization"));
}

static void refuse_session(Fixture *f, const char *answer, SourceGone kind,
                           const char *reason)
{
    g_autofree char *request = NULL;

    start(f);
    rfb_accept(f->server);
    request = rfb_hear_http(f->server);
    g_assert_nonnull(strstr(request, "\r\nX-Auth-Token: "));
    rfb_say_text(f->server, answer);
    check_gone(f, kind, reason);
}

/* The token goes in place of user and password, whichever it is then */
static void test_session(void)
{
    static const char *const tokens[] = { "first", "other" };
    Fixture f = { .session = &session };
    guint i;

    prepare(&f);
    f.config.vnc_url = "ws://127.0.0.1/kvm/0";
    f.config.vnc_password = "secret";   /* the VNC server's */
    f.config.vnc_has_session = TRUE;

    /* without a session the BMC is left alone */
    token = NULL;
    start(&f);
    g_assert_cmpuint(f.goings, ==, 0);          /* later */
    check_gone(&f, SOURCE_LOST, "there is no session at the BMC");
    g_assert_false(rfb_has_client(f.server));
    start(&f);
    f.source->methods->stop(f.source);
    run_what_is_due();
    g_assert_cmpuint(f.goings, ==, 0);

    for (i = 0; i < G_N_ELEMENTS(tokens); i++) {
        g_autofree char *header = g_strconcat("\r\nX-Auth-Token: ", tokens[i],
                                              "\r\n", NULL);

        token = tokens[i];
        start_session(&f, header);
        rfb_log_in(f.server);
        rfb_init(f.server, 200, 100, &rfb_xrgb);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        rfb_fill(f.server, 200, 100, orange, 4);
        RUN_UNTIL(f.pictures == i + 1 && shows(&f, 200, 100, ORANGE));
        f.source->methods->stop(f.source);
    }
    g_assert_cmpuint(doubts, ==, 0);
    tear_down(&f, NULL);
}

/* One that has ended; and one that is not taken though it has not */
static void test_session_refused(void)
{
    static const char unauthorized[] = "HTTP/1.1 401 Unauthorized\r\n\r\n";
    Fixture f = { .session = &session };

    prepare(&f);
    f.config.vnc_url = "ws://127.0.0.1/kvm/0";
    f.config.vnc_has_session = TRUE;
    doubts = 0;
    token = "first";
    refuse_session(&f, unauthorized, SOURCE_LOST, "does not take the session");
    g_assert_cmpuint(doubts, ==, 1);
    token = "other";
    refuse_session(&f, unauthorized, SOURCE_LOST, "does not take the session");
    g_assert_cmpuint(doubts, ==, 2);
    refuse_session(&f, unauthorized, SOURCE_REFUSED, "use [vnc]"
                   " authentication=basic; it says: 401 Unauthorized");
    refuse_session(&f, "HTTP/1.1 403 Forbidden\r\n\r\n", SOURCE_REFUSED,
                   "check whether [redfish] user may use the console");
    g_assert_cmpuint(doubts, ==, 2);
    tear_down(&f, NULL);
}

static void test_no_websocket(void)
{
    static const struct {
        const char *answer;
        SourceGone kind;
        const char *reason;
    } answers[] = {
        { "HTTP/1.1 401 Unauthorized\r\n\r\n", SOURCE_REFUSED,
          "does not let us in: check [vnc] user and password-file" },
        { "HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\n", SOURCE_REFUSED,
          "does not let us in" },
        { "HTTP/1.1 404 Not Found\r\n\r\n", SOURCE_REFUSED,
          "there is no WebSocket at [vnc] url, the web server says: 404" },
        { "HTTP/1.1 301 Moved\r\nLocation: /kvm/0/\r\n\r\n", SOURCE_REFUSED,
          "at /kvm/0/" },
        { "HTTP/1.1 503 Starting\r\n\r\n", SOURCE_LOST, "503 Starting" },
        { "HTTP/1.1 200 OK\r\n\r\n", SOURCE_LOST, "200 OK" },
        { "HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: no\r\n\r\n",
          SOURCE_REFUSED, "does not know what a WebSocket is" },
        { "RFB 003.008\n\r\n\r\n", SOURCE_LOST, "is no web server" },
        { "", SOURCE_LOST, "closed the connection while logging in" },
    };
    g_autofree char *endless = g_strnfill(16385, 'x');
    Fixture f = { 0 };
    guint i;

    prepare(&f);
    f.config.vnc_url = "ws://127.0.0.1";
    for (i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autofree char *request = NULL;

        start(&f);
        rfb_accept(f.server);
        request = rfb_hear_http(f.server);
        g_assert_true(g_str_has_prefix(request, "GET / HTTP/1.1\r\n"));
        g_assert_null(strstr(request, "Authorization"));
        rfb_say_text(f.server, answers[i].answer);
        if (!*answers[i].answer) {
            rfb_hang_up(f.server);
        }
        check_gone(&f, answers[i].kind, answers[i].reason);
    }
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, endless);
    check_gone(&f, SOURCE_LOST, "does not stop talking");
    tear_down(&f, NULL);
}

/* Frames that no server may send, and one that ends it */
static void test_wrong_frames(void)
{
    static const struct {
        const char *frame;
        gsize size;
        const char *reason;
    } frames[] = {
        { "\x82\x81xxxx", 6, "what only a client may" },
        { "\xc2\1x", 3, "an extension" },
        { "\x89\x7e\0\xff", 4, "a control frame that is too long" },
        { "\x88\x24\x03\xe8Max sessions are already connected", 38,
          "ended the WebSocket: Max sessions are already connected" },
        { "\x88\0", 2, "closed the connection while logging in" },
        { "\x82\0\x8a\0\x88\2\x03\xe8", 8, "closed the connection" },
    };
    Fixture f = { 0 };
    guint i;

    prepare(&f);
    f.config.vnc_url = "ws://127.0.0.1";
    for (i = 0; i < G_N_ELEMENTS(frames); i++) {
        g_autofree char *request = NULL;

        start(&f);
        rfb_accept(f.server);
        request = rfb_start_websocket(f.server, 1000);
        rfb_say_raw(f.server, frames[i].frame, frames[i].size);
        check_gone(&f, SOURCE_LOST, frames[i].reason);
    }
    tear_down(&f, NULL);
}

int main(int argc, char **argv)
{
    vnc_test_init(&argc, &argv);
    g_test_add_func("/vnc-websocket/plain", test_websocket);
    g_test_add_func("/vnc-websocket/secure", test_secure_websocket);
    g_test_add_func("/vnc-websocket/session", test_session);
    g_test_add_func("/vnc-websocket/session-refused", test_session_refused);
    g_test_add_func("/vnc-websocket/none", test_no_websocket);
    g_test_add_func("/vnc-websocket/wrong-frames", test_wrong_frames);
    return g_test_run();
}
