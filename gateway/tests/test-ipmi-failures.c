/*
 * What ipmitool says, a line for each row of the table; and in full, as it says
 * it to real BMCs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "ipmi-failures.h"
#include "loop.h"

#define AWAY    BACKEND_TROUBLE_AWAY
#define PASSING BACKEND_TROUBLE_PASSING
#define REFUSED BACKEND_TROUBLE_REFUSED

#define FAILED      SPICE_POWER_RESULT_FAILED
#define DENIED      SPICE_POWER_RESULT_DENIED
#define WRONG_STATE SPICE_POWER_RESULT_WRONG_STATE
#define BUSY        SPICE_POWER_RESULT_BUSY
#define UNSUPPORTED SPICE_POWER_RESULT_UNSUPPORTED

#define OPEN  "Error in open session response message : "
#define RAKP2 "RAKP 2 message indicates an error : "
#define RAKP4 "RAKP 4 message indicates an error : "
#define GET   "Get Chassis Power Status failed: "
#define SET   "Set Chassis Power Control to Down/Off failed: "
#define PLUS  "Error: Unable to establish IPMI v2 / RMCP+ session"
#define LAN   "Error: Unable to establish LAN session\n" \
              "Error: Unable to establish IPMI v1.5 / RMCP session"

typedef struct Known {
    const char *said;
    BackendTrouble kind;
    guint32 result;
    const char *part;           /* of what people read */
} Known;

static void check(const Known *known, const char *said)
{
    IpmiFailure failure;

    g_test_message("%s", said);
    g_assert_true(ipmi_failure_read(&failure, said, "bmc1", "power-off"));
    g_assert_cmpint(failure.kind, ==, known->kind);
    g_assert_cmpuint(failure.result, ==, known->result);
    g_assert_nonnull(strstr(failure.message, known->part));
    g_assert_nonnull(strstr(failure.message, "bmc1"));
    g_free(failure.message);
}

static void test_options(void)
{
    static const Known known[] = {
        { "Unable to open password file /x", REFUSED, FAILED,
          "[ipmi] password-file" },
        { "Unable to read password from file /x", REFUSED, FAILED,
          "[ipmi] password-file" },
        { "lan: password is longer than 16 bytes.", REFUSED, FAILED,
          "too long for IPMI: check [ipmi] password-file" },
        { "Username is too long (> 16 bytes)", REFUSED, FAILED,
          "[ipmi] user" },
        { "Interface x not supported", REFUSED, FAILED, "[ipmi] interface" },
        { "Error loading interface x", REFUSED, FAILED, "[ipmi] interface" },
        { "OEM setup for \"x\" failed", REFUSED, FAILED, "[ipmi] oem" },
        { "Address lookup for bmc1 failed\nCould not open socket!\n" PLUS,
          AWAY, FAILED, "can't be resolved: check [ipmi] host" },
        { "Could not open socket!\n" PLUS, AWAY, FAILED, "no way to the BMC" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        check(&known[i], known[i].said);
    }
}

/* It says that it could not log in behind all of these */
static void check_log_in(const Known *known, gsize number, const char *end)
{
    gsize i;

    for (i = 0; i < number; i++) {
        g_autofree char *said = g_strdup_printf(
            "Loading IANA PEN Registry...\n%s\n\n%s\n", known[i].said, end);

        check(&known[i], said);
    }
}

static void test_lanplus(void)
{
    static const Known known[] = {
        { OPEN "insufficient resources for session", AWAY, BUSY,
          "has no free session" },
        { RAKP2 "insufficient resources for role", AWAY, BUSY,
          "has no free session" },
        { RAKP2 "unauthorized name", REFUSED, FAILED, "check [ipmi] user" },
        { RAKP2 "invalid name length", REFUSED, FAILED, "check [ipmi] user" },
        { RAKP2 "unauthorized role requested", REFUSED, DENIED,
          "check [ipmi] privilege" },
        { OPEN "invalid role", REFUSED, DENIED, "check [ipmi] privilege" },
        { OPEN "no matching cipher suite", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { OPEN "no matching authentication algorithm", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { OPEN "no matching integrity payload", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { OPEN "invalid authentication algorithm", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { OPEN "invalid integrity algorithm", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { OPEN "invalid confidentiality algorithm", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { "Encryption algorithm 0x00 is not what we requested 0x01", REFUSED,
          FAILED, "check [ipmi] cipher-suite" },
        { "Unsupported cipher suite ID : 13", REFUSED, FAILED,
          "check [ipmi] cipher-suite" },
        { "read_rakp2_message: no support for authentication algorithm 0x2",
          REFUSED, FAILED, "check [ipmi] cipher-suite" },
        { OPEN "illegal parameter", REFUSED, FAILED,
          "[ipmi] cipher-suite and privilege" },
        { "> RAKP 2 HMAC is invalid", REFUSED, FAILED,
          "check [ipmi] password-file" },
        { RAKP4 "invalid integrity check value", REFUSED, FAILED,
          "check [ipmi] password-file" },
        { "> RAKP 4 message has invalid integrity check value", REFUSED,
          FAILED, "check [ipmi] kg-file" },
        { RAKP2 "invalid session ID", PASSING, FAILED,
          "for power-off has failed: " RAKP2 "invalid session ID" },
        { RAKP2 "inactive session ID", PASSING, FAILED, "inactive" },
        { RAKP2 "Unknown (0xc0)", REFUSED, FAILED, "Unknown (0xc0)" },
        { OPEN "invalid payload type", REFUSED, FAILED, "payload type" },
        { "> Error: no response from RAKP 1 message", AWAY, FAILED,
          "in the midst of the log-in" },
        { "> Error: no response from RAKP 3 message", REFUSED, FAILED,
          "check [ipmi] password-file" },
        { "This BMC does not support IPMI v2 / RMCP+", REFUSED, FAILED,
          "[ipmi] interface=lan" },
        { "Set Session Privilege Level to OPERATOR failed: Unknown (0x81)",
          REFUSED, DENIED, "check [ipmi] privilege" },
        { "Set Session Privilege Level to OPERATOR failed", AWAY, FAILED,
          "does not answer" },
        { "Get Auth Capabilities error: Node busy", PASSING, FAILED,
          "Node busy" },
        { "Get Auth Capabilities error\nError issuing Get Channel"
          " Authentication Capabilities request", AWAY, FAILED,
          "does not answer: check that it is on the network" },
    };

    check_log_in(known, G_N_ELEMENTS(known), PLUS);
}

static void test_lan(void)
{
    static const Known known[] = {
        { "Invalid user name", REFUSED, FAILED, "check [ipmi] user" },
        { "NULL user name not enabled", REFUSED, FAILED, "check [ipmi] user" },
        { "Activate Session error:\tpassword invalid", REFUSED, FAILED,
          "check [ipmi] password-file" },
        { "Activate Session error:\tNo session slot available", AWAY, BUSY,
          "has no free session" },
        { "Activate Session error:\tNo slot available for given user - limit"
          " reached", AWAY, BUSY, "has no free session" },
        { "Activate Session error:\tNo slot available to support user due to"
          " maximum privilege capacity", AWAY, BUSY, "has no free session" },
        { "Activate Session error:\tSession sequence out of range", PASSING,
          FAILED, "out of range" },
        { "Activate Session error:\tInvalid session ID in request", PASSING,
          FAILED, "Invalid session ID" },
        { "Activate Session error:\tRequested privilege level exceeds limit",
          REFUSED, DENIED, "check [ipmi] privilege" },
        { "Activate Session error:\tInsufficient privilege level", REFUSED,
          DENIED, "check [ipmi] privilege" },
        { "Activate Session error:\tNode busy", REFUSED, FAILED,
          "Node busy" },
        { "Activate Session command failed", REFUSED, FAILED,
          "check [ipmi] password-file" },
        { "Authentication type MD5 not supported", REFUSED, FAILED,
          "[ipmi] interface and oem" },
        { "No supported authtypes found", REFUSED, FAILED,
          "[ipmi] interface and oem" },
        { "Get Session Challenge command failed: Node busy", PASSING, FAILED,
          "Node busy" },
        { "Get Session Challenge command failed", AWAY, FAILED,
          "does not answer" },
        { "Get Auth Capabilities command failed: Timeout", PASSING, FAILED,
          "Timeout" },
        { "Get Auth Capabilities command failed", AWAY, FAILED,
          "does not answer" },
    };

    check_log_in(known, G_N_ELEMENTS(known), LAN);
}

static void test_chassis(void)
{
    static const Known known[] = {
        { SET "Insufficient privilege level", REFUSED, DENIED,
          "does not allow the user to do this" },
        { SET "Cannot execute command, command disabled", REFUSED, DENIED,
          "does not allow the user to do this" },
        { SET "Invalid command", REFUSED, UNSUPPORTED, "can't do this" },
        { SET "Invalid command on LUN", REFUSED, UNSUPPORTED,
          "can't do this" },
        { SET "Invalid data field in request", PASSING, UNSUPPORTED,
          "[ipmi] reset=cycle" },
        { SET "Parameter out of range", PASSING, UNSUPPORTED,
          "[ipmi] reset=cycle" },
        { SET "Command not supported in present state", PASSING, WRONG_STATE,
          "in the state that the machine is in" },
        { SET "Node busy", PASSING, BUSY, "is busy" },
        { SET "Out of space", PASSING, BUSY, "is busy" },
        { SET "BMC initialization in progress", AWAY, BUSY, "about to start" },
        { GET "Device firmeware in update mode", AWAY, BUSY, "updated" },
        { GET "Device firmware in update mode", AWAY, BUSY, "updated" },
        { GET "Destination unavailable", AWAY, FAILED,
          "[ipmi] target-address" },
        { GET "Unspecified error", PASSING, FAILED,
          "Asking the BMC bmc1 for power-off has failed: " GET },
        { SET "Unknown (0x80)", PASSING, FAILED, SET "Unknown (0x80)" },
        { "Unable to get Chassis Power Status", PASSING, FAILED,
          "does not answer" },
        { "Unable to set Chassis Power Control to Down/Off", PASSING, FAILED,
          "does not answer" },
    };
    gsize i;

    for (i = 0; i < G_N_ELEMENTS(known); i++) {
        /* that it could not say good-bye is no reason */
        g_autofree char *said = g_strconcat(
            "Discovered IPMB address 0x0\n", known[i].said,
            "\nClose Session command failed\n", NULL);

        check(&known[i], known[i].said);
        check(&known[i], said);
    }
}

/* The last line, as far as it is text; and nothing if there is none */
static void test_unknown(void)
{
    static const Known known = { NULL, PASSING, FAILED,
                                 "for power-off has failed: so \357\277\275" };
    IpmiFailure failure;

    check(&known, "first\nso \xff\n \n\n");
    g_assert_false(ipmi_failure_read(&failure, "", "bmc1", "power-off"));
    g_assert_false(ipmi_failure_read(&failure, " \n\t\n", "bmc1", "on"));
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/ipmi-failures/options", test_options);
    g_test_add_func("/ipmi-failures/lanplus", test_lanplus);
    g_test_add_func("/ipmi-failures/lan", test_lan);
    g_test_add_func("/ipmi-failures/chassis", test_chassis);
    g_test_add_func("/ipmi-failures/unknown", test_unknown);
    return g_test_run();
}
