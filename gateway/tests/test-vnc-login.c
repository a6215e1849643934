/*
 * How we log in at VNC servers as they really are, and whom we believe
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "certificate.h"
#include "vnc-fixture.h"
#include "vnc-security.h"

/* --- versions and ways to log in ----------------------------------------- */

/* To 0123456789abcdef, with the password "secret"; by openssl enc -des-ecb */
static const guint8 secret_response[16] = {
    0x75, 0x24, 0x40, 0xee, 0x2b, 0xfc, 0xc2, 0xa0,
    0xd9, 0x01, 0x3f, 0xd2, 0x03, 0x71, 0xe2, 0x3b,
};

typedef struct Version {
    const char *says, *answer;
} Version;

static const Version versions[] = {
    { "RFB 003.003\n", "RFB 003.003\n" },
    { "RFB 003.005\n", "RFB 003.003\n" },
    { "RFB 003.006\n", "RFB 003.003\n" },
    { "RFB 003.007\n", "RFB 003.007\n" },
    { "RFB 003.008\n", "RFB 003.008\n" },
    { "RFB 003.014\n", "RFB 003.008\n" },
    { "RFB 003.889\n", "RFB 003.008\n" },
    { "RFB 004.000\n", "RFB 003.008\n" },
    { "RFB 004.001\n", "RFB 003.008\n" },
    { "RFB 005.000\n", "RFB 003.008\n" },
};

/* None, and a password, in each of them */
static void test_version(gconstpointer data)
{
    const Version *version = data;
    int minor = version->answer[10] - '0', type;

    for (type = VNC_SECURITY_NONE; type <= VNC_SECURITY_PASSWORD; type++) {
        guint8 offer[2] = { 1, type };
        Fixture f = { 0 };

        prepare(&f);
        f.config.vnc_password = "secret";
        start(&f);
        rfb_accept(f.server);
        rfb_say_text(f.server, version->says);
        rfb_expect_text(f.server, version->answer);
        if (minor == 3) {
            rfb_say_u32(f.server, type);
        } else {
            rfb_say(f.server, offer, sizeof(offer));
            rfb_expect(f.server, offer + 1, 1);
        }
        if (type == VNC_SECURITY_PASSWORD) {
            rfb_say_text(f.server, "0123456789abcdef");
            rfb_hear(f.server, 16);
        }
        if (type == VNC_SECURITY_PASSWORD || minor == 8) {
            rfb_say_u32(f.server, 0);
        }
        rfb_init(f.server, 32, 16, &rfb_xrgb);
        rfb_wait(f.server, RFB_UPDATE_REQUEST);
        rfb_fill(f.server, 32, 16, orange, 4);
        RUN_UNTIL(shows(&f, 32, 16, ORANGE));
        tear_down(&f, NULL);
    }
}

static void test_no_vnc_server(void)
{
    Fixture f = { 0 };

    prepare(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "SSH-2.0-OpenSSH_9.2\r\n");
    check_gone(&f, SOURCE_LOST, "no VNC server, it begins with"
               " \"SSH-2.0-Open\"");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 000.000\n");
    check_gone(&f, SOURCE_LOST, "before 003.003");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 0");
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_LOST, "closed the connection while logging in");
    tear_down(&f, NULL);
}

/* Of the password only eight bytes count */
static void test_challenge(void)
{
    static const guint8 challenge[17] = "0123456789abcdef";
    guint8 a[16], b[16];

    vnc_answer_challenge("password", challenge, a);
    vnc_answer_challenge("password that is longer", challenge, b);
    g_assert_cmpmem(a, 16, b, 16);
    vnc_answer_challenge("pass", challenge, b);
    g_assert_true(memcmp(a, b, 16));
    vnc_answer_challenge("secret", challenge, a);
    g_assert_cmpmem(a, 16, secret_response, 16);
}

/* What is offered is named, and what could be */
static void test_offers(void)
{
    static const struct {
        const char *types, *reason;
    } offers[] = {
        { "\1\20", "no way to log in but Tight (16); spice-gateway can do None"
                   " (1), VNC password (2) and VeNCrypt (19)" },
        { "\2\5\15", "but RA2 (5), RA2-256 of RealVNC (13);" },
        { "\3\6\36\373", "but RA2ne (6), Apple's (30), unknown (251);" },
        { "\2\2\20", "wants a password: set [vnc] password-file" },
    };
    Fixture f = { 0 };
    guint i;

    prepare(&f);
    for (i = 0; i < G_N_ELEMENTS(offers); i++) {
        start(&f);
        rfb_accept(f.server);
        rfb_say_text(f.server, "RFB 003.008\n");
        rfb_expect_text(f.server, "RFB 003.008\n");
        rfb_say(f.server, offers[i].types, offers[i].types[0] + 1);
        check_gone(&f, SOURCE_REFUSED, offers[i].reason);
        rfb_wait_closed(f.server);
    }
    tear_down(&f, NULL);
}

/* More ways than libgvnc has room for */
static void test_many_offers(void)
{
    guint8 offer[256];
    Fixture f = { 0 };
    int i;

    offer[0] = 255;
    for (i = 1; i < 256; i++) {
        offer[i] = i;
    }
    prepare(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say(f.server, offer, sizeof(offer));
    rfb_expect(f.server, "\1", 1);
    rfb_say_u32(f.server, 0);
    rfb_init(f.server, 32, 16, &rfb_xrgb);
    rfb_wait(f.server, RFB_UPDATE_REQUEST);
    tear_down(&f, NULL);
}

static void say_reason(RfbServer *server, const char *reason)
{
    rfb_say_u32(server, strlen(reason));
    rfb_say_text(server, reason);
}

/* It offers nothing, and says why, to new clients and to old ones */
static void test_refused(void)
{
    g_autofree char *endless = g_strnfill(100000, 'x');
    Fixture f = { 0 };

    prepare(&f);
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say_u8(f.server, 0);
    say_reason(f.server, "Too many security failures\n");
    check_gone(&f, SOURCE_REFUSED, "refuses the connection; it says: Too many"
               " security failures");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.003\n");
    rfb_expect_text(f.server, "RFB 003.003\n");
    rfb_say_u32(f.server, 0);
    say_reason(f.server, "busy\1\377");
    check_gone(&f, SOURCE_REFUSED, "it says: busy");
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say_u8(f.server, 0);
    rfb_say_u32(f.server, strlen(endless));
    rfb_say(f.server, endless, 512);
    check_gone(&f, SOURCE_REFUSED, "xxx");
    g_assert_cmpuint(strlen(f.reason), <, 600);
    tear_down(&f, NULL);
}

static void offer_password(Fixture *f, const char *version)
{
    start(f);
    rfb_accept(f->server);
    rfb_say_text(f->server, version);
    rfb_expect_text(f->server, version);
    rfb_say(f->server, "\1\2", 2);
    rfb_expect(f->server, "\2", 1);
    rfb_say_text(f->server, "0123456789abcdef");
    rfb_hear(f->server, 16);
}

/* In all the ways that it is said, or not */
static void test_wrong_password(void)
{
    static const char problem[] = "does not accept the password: check [vnc]"
                                  " password-file";
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_password = "wrong";
    offer_password(&f, "RFB 003.008\n");
    rfb_say_u32(f.server, 1);
    say_reason(f.server, "Authentication failure");
    check_gone(&f, SOURCE_REFUSED, problem);
    g_assert_nonnull(strstr(f.reason, "it says: Authentication failure"));

    offer_password(&f, "RFB 003.007\n");
    rfb_say_u32(f.server, 1);
    check_gone(&f, SOURCE_REFUSED, problem);

    offer_password(&f, "RFB 003.008\n");
    rfb_say_u32(f.server, 2);
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_REFUSED, problem);

    offer_password(&f, "RFB 003.008\n");
    rfb_hang_up(f.server);
    check_gone(&f, SOURCE_REFUSED, problem);
    tear_down(&f, NULL);
}

/* --- VeNCrypt ------------------------------------------------------------ */

/* Up to when the client has to choose one of @types, which end with 0 */
static void offer_vencrypt(Fixture *f, const guint32 *types)
{
    int count, i;

    start(f);
    rfb_accept(f->server);
    rfb_say_text(f->server, "RFB 003.008\n");
    rfb_expect_text(f->server, "RFB 003.008\n");
    rfb_say(f->server, "\1\23", 2);
    rfb_expect(f->server, "\23", 1);
    rfb_say(f->server, "\0\2", 2);
    rfb_expect(f->server, "\0\2", 2);
    rfb_say_u8(f->server, 0);
    for (count = 0; types[count]; count++) {
    }
    rfb_say_u8(f->server, count);
    for (i = 0; i < count; i++) {
        rfb_say_u32(f->server, types[i]);
    }
}

/* The client chooses that, and TLS begins. Returns: whether it comes to be */
static gboolean take_vencrypt(Fixture *f, guint32 type, const Certificate *made)
{
    g_assert_cmpuint(rfb_hear_u32(f->server), ==, type);
    rfb_say_u8(f->server, 1);
    return rfb_start_tls(f->server, made ? made->cert : NULL,
                         made ? made->key : NULL);
}

static void check_picture(Fixture *f)
{
    guint pictures = f->pictures;

    rfb_say_u32(f->server, 0);
    rfb_init(f->server, 300, 200, &rfb_xrgb);
    rfb_wait(f->server, RFB_UPDATE_REQUEST);
    rfb_fill(f->server, 300, 200, orange, 4);
    RUN_UNTIL(f->pictures > pictures && shows(f, 300, 200, ORANGE));
}

/* All of them that are offered; the best of it is taken */
static void test_vencrypt(void)
{
    static const guint32 all[] = { 256, 257, 258, 259, 260, 261, 262, 263, 0 };
    static const guint32 anonymous[] = { 257, 258, 259, 0 };
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Certificate *made = certificate_new(directory, "made", "IP:127.0.0.1,"
                                        "DNS:bmc.example.test", DAY_S, NULL);
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_ca_file = made->cert;
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_NONE, made));
    check_picture(&f);
    f.source->methods->stop(f.source);

    f.config.vnc_password = "secret";
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_PASSWORD, made));
    rfb_say_text(f.server, "0123456789abcdef");
    rfb_expect(f.server, secret_response, 16);
    check_picture(&f);
    f.source->methods->stop(f.source);

    f.config.vnc_user = "me";
    offer_vencrypt(&f, all);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_PLAIN, made));
    rfb_expect(f.server, "\0\0\0\2\0\0\0\6mesecret", 16);
    check_picture(&f);
    f.source->methods->stop(f.source);

    offer_vencrypt(&f, anonymous);
    check_gone(&f, SOURCE_REFUSED, "nothing with a certificate, but TLSNone"
               " (257), TLSVnc (258), TLSPlain (259)");
    f.config.vnc_ca_file = NULL;
    offer_vencrypt(&f, anonymous);
    check_gone(&f, SOURCE_REFUSED, "with [vnc] anonymous-tls=true");
    f.config.vnc_anonymous_tls = TRUE;
    offer_vencrypt(&f, anonymous);
    g_assert_true(take_vencrypt(&f, VENCRYPT_TLS_PLAIN, NULL));
    rfb_expect(f.server, "\0\0\0\2\0\0\0\6mesecret", 16);
    check_picture(&f);
    tear_down(&f, NULL);
    certificate_free(made);
    remove_all(directory);
}

static void refuse_certificate(Fixture *f, const Certificate *made,
                               const char *reason)
{
    static const guint32 types[] = { VENCRYPT_X509_NONE, 0 };

    offer_vencrypt(f, types);
    /* with TLS 1.3 the server may be done before it is told */
    take_vencrypt(f, VENCRYPT_X509_NONE, made);
    check_gone(f, SOURCE_REFUSED, reason);
    rfb_wait_closed(f->server);
}

static void test_certificates(void)
{
    static const guint32 types[] = { VENCRYPT_X509_NONE, 0 };
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Certificate *made = certificate_new(directory, "made", "IP:127.0.0.1",
                                        DAY_S, NULL);
    Certificate *other = certificate_new(directory, "other", "IP:127.0.0.2,"
                                         "DNS:localhost", DAY_S, NULL);
    Fixture f = { 0 };

    prepare(&f);
    refuse_certificate(&f, made, "check [vnc] ca-file and host");
    f.config.vnc_ca_file = other->cert;
    refuse_certificate(&f, made, "check [vnc] ca-file and host");
    /* one that is trusted, for another host */
    refuse_certificate(&f, other, "mismatch");
    f.config.vnc_ca_file = "/nonexistent/ca.pem";
    offer_vencrypt(&f, types);
    g_assert_cmpuint(rfb_hear_u32(f.server), ==, VENCRYPT_X509_NONE);
    rfb_say_u8(f.server, 1);
    check_gone(&f, SOURCE_REFUSED, "[vnc] ca-file: /nonexistent/ca.pem: ");

    /* whatever it is for, and whoever has signed it */
    f.config.vnc_ca_file = NULL;
    f.config.vnc_fingerprint = other->fingerprint;
    refuse_certificate(&f, made, "another one than [vnc] fingerprint says");
    offer_vencrypt(&f, types);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_NONE, other));
    check_picture(&f);
    tear_down(&f, NULL);
    certificate_free(made);
    certificate_free(other);
    remove_all(directory);
}

/* That it is too old is what is said of it, with what to do */
static void test_expired(void)
{
    static const guint32 types[] = { VENCRYPT_X509_NONE, 0 };
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Certificate *authority = certificate_new(directory, "ca", "DNS:ca", DAY_S,
                                             NULL);
    Certificate *old = certificate_new(directory, "old", "IP:127.0.0.1", -1,
                                       authority);
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_ca_file = authority->cert;
    refuse_certificate(&f, old, "the VNC server's certificate has expired:"
                       " renew it there, or set [vnc] fingerprint");
    f.config.vnc_ca_file = NULL;
    f.config.vnc_fingerprint = old->fingerprint;
    offer_vencrypt(&f, types);
    g_assert_true(take_vencrypt(&f, VENCRYPT_X509_NONE, old));
    check_picture(&f);
    tear_down(&f, NULL);
    certificate_free(old);
    certificate_free(authority);
    remove_all(directory);
}

/* Which one it is, of several: the server's is good here */
static void test_authority_expired(void)
{
    g_autofree char *directory = g_dir_make_tmp("spice-gateway-XXXXXX", NULL);
    Certificate *authority = certificate_new(directory, "old-ca", "DNS:ca", -1,
                                             NULL);
    Certificate *made = certificate_new(directory, "made", "IP:127.0.0.1",
                                        DAY_S, authority);
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_ca_file = authority->cert;
    refuse_certificate(&f, made, "the certificate of the authority that the VNC"
                       " server's is of has expired, CN=old-ca: renew it");
    tear_down(&f, NULL);
    certificate_free(made);
    certificate_free(authority);
    remove_all(directory);
}

/* Who has said whom to trust is not content with less */
static void test_no_tls(void)
{
    Fixture f = { 0 };

    prepare(&f);
    f.config.vnc_ca_file = "/nonexistent/ca.pem";
    start(&f);
    rfb_accept(f.server);
    rfb_say_text(f.server, "RFB 003.008\n");
    rfb_expect_text(f.server, "RFB 003.008\n");
    rfb_say(f.server, "\2\1\2", 3);
    check_gone(&f, SOURCE_REFUSED, "no TLS, which [vnc] ca-file is for, but"
               " None (1), VNC password (2)");
    tear_down(&f, NULL);
}

/* ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    guint i;

    vnc_test_init(&argc, &argv);
    for (i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *path = g_strdup_printf("/vnc-login/version/%.7s",
                                                versions[i].says + 4);

        g_test_add_data_func(path, &versions[i], test_version);
    }
    g_test_add_func("/vnc-login/no-vnc-server", test_no_vnc_server);
    g_test_add_func("/vnc-login/challenge", test_challenge);
    g_test_add_func("/vnc-login/offers", test_offers);
    g_test_add_func("/vnc-login/many-offers", test_many_offers);
    g_test_add_func("/vnc-login/refused", test_refused);
    g_test_add_func("/vnc-login/wrong-password", test_wrong_password);
    g_test_add_func("/vnc-login/vencrypt", test_vencrypt);
    g_test_add_func("/vnc-login/certificates", test_certificates);
    g_test_add_func("/vnc-login/expired", test_expired);
    g_test_add_func("/vnc-login/authority-expired", test_authority_expired);
    g_test_add_func("/vnc-login/no-tls", test_no_tls);
    return g_test_run();
}
