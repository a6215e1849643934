/*
 * The SPICE server in a domain's XML
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "graphics.h"
#include "loop.h"

#define DOMAIN(devices) \
    "<?xml version='1.0'?>\n" \
    "<!-- made by somebody -->\n" \
    "<domain type='kvm'" \
    " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>" \
    "<name>a &amp; b</name>" \
    "<metadata><x:devices xmlns:x='http://x'>" \
    "<graphics type='spice' port='1'/>" \
    "<![CDATA[<graphics type='spice' port='2'/>]]></x:devices></metadata>" \
    "<devices><disk/>" devices "</devices>" \
    "<qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline>" \
    "</domain>"

static Graphics *parse(const char *xml)
{
    g_autoptr(GError) error = NULL;
    Graphics *graphics = graphics_parse(xml, &error);

    g_assert_no_error(error);
    return graphics;
}

/* While it runs */
static void test_live(void)
{
    g_autoptr(Graphics) graphics = parse(DOMAIN(
        "<graphics type='vnc' port='5900'>"
        "<listen type='address' address='192.0.2.1'/></graphics>"
        "<graphics type='spice' port='5901' tlsPort='5902' autoport='yes'"
        " listen='192.0.2.7' passwd='&lt;s&gt;'"
        " passwdValidTo='1970-01-02T00:00:01'>"
        "<listen type='address' address='192.0.2.7'/>"
        "<listen type='address' address='192.0.2.8'/>"
        "<power reset='no' passwd='press' passwdValidTo='1970-01-01T00:01:00'/>"
        "</graphics>"
        "<graphics type='spice' port='5903'/>"));

    g_assert_cmpstr(graphics->address, ==, "192.0.2.7");
    g_assert_cmpint(graphics->port, ==, 5901);
    g_assert_cmpint(graphics->tls_port, ==, 5902);
    g_assert_cmpstr(graphics->password, ==, "<s>");
    g_assert_cmpint(graphics->password_end, ==, 24 * 60 * 60 + 1);
    g_assert_cmpstr(graphics->power_password, ==, "press");
    g_assert_cmpint(graphics->power_password_end, ==, 60);
}

/* Before it has been started, and with as little as there may be */
static void test_defined(void)
{
    g_autoptr(Graphics) graphics = parse(DOMAIN(
        "<graphics type='spice' port='-1' autoport='yes'>"
        "<listen type='address'/></graphics>"));

    g_assert_null(graphics->address);
    g_assert_cmpint(graphics->port, ==, 0);
    g_assert_cmpint(graphics->tls_port, ==, 0);
    g_assert_null(graphics->password);
    g_assert_cmpint(graphics->password_end, ==, 0);
    g_assert_null(graphics->power_password);
}

static void test_socket(void)
{
    g_autoptr(Graphics) graphics = parse(DOMAIN(
        "<graphics type='spice'><listen type='socket' socket='/s'/>"
        "</graphics>"));

    g_assert_null(graphics->address);
}

/* A time that can't be read is no reason to let somebody in for ever */
static void test_wrong_time(void)
{
    g_autoptr(Graphics) graphics = parse(DOMAIN(
        "<graphics type='spice' passwd='s' passwdValidTo='soon'/>"));

    g_assert_cmpint(graphics->password_end, ==, 1);
}

static void test_none(void)
{
    g_assert_null(parse(DOMAIN("")));
    g_assert_null(parse(DOMAIN("<graphics type='vnc'/>"
                               "<x><graphics type='spice'/></x>")));
}

static void test_no_xml(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(graphics_parse("<domain><devices>"
                                 "<graphics type='spice'/></devices>", &error));
    g_assert_nonnull(error);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/graphics/live", test_live);
    g_test_add_func("/graphics/defined", test_defined);
    g_test_add_func("/graphics/socket", test_socket);
    g_test_add_func("/graphics/wrong-time", test_wrong_time);
    g_test_add_func("/graphics/none", test_none);
    g_test_add_func("/graphics/no-xml", test_no_xml);
    return g_test_run();
}
