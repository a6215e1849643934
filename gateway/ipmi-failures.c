/*
 * What ipmitool says when it fails, and what that means
 *
 * The texts are those of ipmitool 1.8.19: of its interfaces lanplus and lan, of
 * "chassis power", and of its options. Older ones have the same.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "ipmi-failures.h"

#define AWAY    BACKEND_TROUBLE_AWAY
#define PASSING BACKEND_TROUBLE_PASSING
#define REFUSED BACKEND_TROUBLE_REFUSED

#define FAILED      SPICE_POWER_RESULT_FAILED
#define DENIED      SPICE_POWER_RESULT_DENIED
#define WRONG_STATE SPICE_POWER_RESULT_WRONG_STATE
#define BUSY        SPICE_POWER_RESULT_BUSY
#define UNSUPPORTED SPICE_POWER_RESULT_UNSUPPORTED

#define NO_USER \
    "The BMC %s does not know the user, or has locked it out: check [ipmi] user"
#define NO_PASSWORD \
    "The BMC %s does not accept the password: check [ipmi] password-file"
#define NO_PRIVILEGE \
    "The BMC %s does not allow the user this privilege: check [ipmi] privilege" \
    " and the user's rights"
#define NO_CIPHER_SUITE \
    "The BMC %s does not take the cipher suite: check [ipmi] cipher-suite"
#define NO_SESSION \
    "The BMC %s has no free session: too many are logged in there"
#define NO_RIGHT \
    "The BMC %s does not allow the user to do this: check [ipmi] privilege and" \
    " the user's rights"
#define NO_ANSWER \
    "The BMC %s does not answer: check that it is on the network, and [ipmi]" \
    " host and port"
#define NOT_NOW \
    "The BMC %s is busy, and does not do this now"
#define STARTING \
    "The BMC %s is about to start, or is being updated"
#define CANT \
    "The BMC %s can't do this"
#define NO_RESET \
    "The BMC %s can't do this; if it is a reset, [ipmi] reset=cycle may do it"

/*
 * The first row that matches a line is it, so what is said after it and because
 * of it is further down. @meaning has the host for %s; NULL is what has been
 * said. Each row is in test-ipmi-failures.c.
 */
static const struct {
    const char *line;           /* with * and ? as in a shell */
    BackendTrouble kind;
    guint32 result;
    const char *meaning;
} failures[] = {
    /* its own options, and files */
    { "Unable to open password file *", REFUSED, FAILED,
      "The password for the BMC %s can't be read: check [ipmi]"
      " password-file" },
    { "Unable to read password *", REFUSED, FAILED,
      "The password for the BMC %s can't be read: check [ipmi]"
      " password-file" },
    { "*: password is longer than *", REFUSED, FAILED,
      "The password for the BMC %s is too long for IPMI: check [ipmi]"
      " password-file" },
    { "Username is too long *", REFUSED, FAILED,
      "The user's name for the BMC %s is too long: [ipmi] user has at most 16"
      " bytes" },
    { "Interface * not supported", REFUSED, FAILED,
      "ipmitool can't talk to the BMC %s that way: check [ipmi] interface" },
    { "Error loading interface *", REFUSED, FAILED,
      "ipmitool can't talk to the BMC %s that way: check [ipmi] interface" },
    { "OEM setup for * failed", REFUSED, FAILED,
      "ipmitool does not know that kind of BMC, for %s: check [ipmi] oem" },
    { "Address lookup for * failed", AWAY, FAILED,
      "The BMC's name %s can't be resolved: check [ipmi] host" },
    { "Could not open socket!", AWAY, FAILED,
      "There is no way to the BMC %s: check the network here, and [ipmi]"
      " host" },

    /* to log in, lanplus */
    { "* : insufficient resources for *", AWAY, BUSY, NO_SESSION },
    { "* : unauthorized name", REFUSED, FAILED, NO_USER },
    { "* : invalid name length", REFUSED, FAILED, NO_USER },
    { "* : unauthorized role requested", REFUSED, DENIED, NO_PRIVILEGE },
    { "* : invalid role", REFUSED, DENIED, NO_PRIVILEGE },
    { "* : no matching *", REFUSED, FAILED, NO_CIPHER_SUITE },
    { "* : invalid * algorithm", REFUSED, FAILED, NO_CIPHER_SUITE },
    { "* algorithm 0x* is not what we requested *", REFUSED, FAILED,
      NO_CIPHER_SUITE },
    { "Unsupported cipher suite ID *", REFUSED, FAILED, NO_CIPHER_SUITE },
    { "*: no support for authentication algorithm *", REFUSED, FAILED,
      NO_CIPHER_SUITE },
    { "* : illegal parameter", REFUSED, FAILED,
      "The BMC %s does not take what is asked of it: check [ipmi] cipher-suite"
      " and privilege" },
    { "*HMAC is invalid", REFUSED, FAILED, NO_PASSWORD },
    { "* : invalid integrity check value", REFUSED, FAILED, NO_PASSWORD },
    { "*message has invalid integrity check value", REFUSED, FAILED,
      "The BMC %s has another key K_g: check [ipmi] kg-file" },
    { "* : invalid session ID", PASSING, FAILED, NULL },
    { "* : inactive session ID", PASSING, FAILED, NULL },
    { "*message indicates an error : *", REFUSED, FAILED, NULL },
    { "Error in open session response message : *", REFUSED, FAILED, NULL },
    { "*no response from RAKP 1 message", AWAY, FAILED,
      "The BMC %s stops answering in the midst of the log-in: it may be busy,"
      " or check [ipmi] user" },
    { "*no response from RAKP 3 message", REFUSED, FAILED,
      "The BMC %s stops answering when it has got the password: check [ipmi]"
      " password-file" },
    { "This BMC does not support IPMI v2 *", REFUSED, FAILED,
      "The BMC %s has IPMI 1.5 only: set [ipmi] interface=lan" },

    /* the same, lan */
    { "Invalid user name", REFUSED, FAILED, NO_USER },
    { "NULL user name not enabled", REFUSED, FAILED, NO_USER },
    { "*password invalid*", REFUSED, FAILED, NO_PASSWORD },
    { "*o session slot available", AWAY, BUSY, NO_SESSION },
    { "*No slot available *", AWAY, BUSY, NO_SESSION },
    { "*Session sequence out of range", PASSING, FAILED, NULL },
    { "*Invalid session ID in request", PASSING, FAILED, NULL },
    { "Activate Session error:*privilege level*", REFUSED, DENIED,
      NO_PRIVILEGE },
    { "Activate Session command failed", REFUSED, FAILED,
      "The BMC %s stops answering when it has got the password: check [ipmi]"
      " password-file" },
    { "Activate Session error:*", REFUSED, FAILED, NULL },
    { "Authentication type * not supported", REFUSED, FAILED,
      "The BMC %s does not take any way to log in that ipmitool has for it:"
      " check [ipmi] interface and oem" },
    { "No supported authtypes found", REFUSED, FAILED,
      "The BMC %s does not take any way to log in that ipmitool has for it:"
      " check [ipmi] interface and oem" },
    { "Get Session Challenge command failed: *", PASSING, FAILED, NULL },

    /* when one is logged in */
    { "Set Session Privilege Level to * failed: *", REFUSED, DENIED,
      NO_PRIVILEGE },
    { "*Chassis Power * failed: Insufficient privilege level", REFUSED, DENIED,
      NO_RIGHT },
    { "*Chassis Power * failed: Cannot execute command, command disabled",
      REFUSED, DENIED, NO_RIGHT },
    { "*Chassis Power * failed: Invalid command*", REFUSED, UNSUPPORTED, CANT },
    { "*Chassis Power * failed: Invalid data field in request", PASSING,
      UNSUPPORTED, NO_RESET },
    { "*Chassis Power * failed: Parameter out of range", PASSING, UNSUPPORTED,
      NO_RESET },
    { "*Chassis Power * failed: Command not supported in present state",
      PASSING, WRONG_STATE,
      "The BMC %s does not do this in the state that the machine is in" },
    { "*Chassis Power * failed: Node busy", PASSING, BUSY, NOT_NOW },
    { "*Chassis Power * failed: Out of space", PASSING, BUSY, NOT_NOW },
    { "*Chassis Power * failed: BMC initialization in progress", AWAY, BUSY,
      STARTING },
    { "*Chassis Power * failed: Device firm*ware in update mode", AWAY, BUSY,
      STARTING },
    { "*Chassis Power * failed: Destination unavailable", AWAY, FAILED,
      "The BMC %s can't reach the node: check that it is there, and [ipmi]"
      " target-address and target-channel" },
    { "*Chassis Power * failed: *", PASSING, FAILED, NULL },
    { "Unable to get Chassis Power Status", PASSING, FAILED, NO_ANSWER },
    { "Unable to set Chassis Power Control to *", PASSING, FAILED, NO_ANSWER },

    /* what is left of a log-in */
    { "Get Auth Capabilities * failed: *", PASSING, FAILED, NULL },
    { "Get Auth Capabilities error: *", PASSING, FAILED, NULL },
    { "*Unable to establish*", AWAY, FAILED, NO_ANSWER },
};

static void set_failure(IpmiFailure *failure, gsize row, const char *line,
                        const char *host, const char *what)
{
    const char *meaning = failures[row].meaning;

    failure->kind = failures[row].kind;
    failure->result = failures[row].result;
    failure->message =
        meaning ? g_strdup_printf(meaning, host)
                : g_strdup_printf("Asking the BMC %s for %s has failed: %s",
                                  host, what, line);
}

gboolean ipmi_failure_read(IpmiFailure *failure, const char *said,
                           const char *host, const char *what)
{
    g_autofree char *valid = g_utf8_make_valid(said, -1);
    g_auto(GStrv) lines = g_strsplit(valid, "\n", 0);
    const char *last = NULL;
    gsize row, i;

    for (i = 0; lines[i]; i++) {
        if (*g_strstrip(lines[i])) {
            last = lines[i];
        }
    }
    if (!last) {
        return FALSE;
    }
    for (row = 0; row < G_N_ELEMENTS(failures); row++) {
        for (i = 0; lines[i]; i++) {
            if (g_pattern_match_simple(failures[row].line, lines[i])) {
                set_failure(failure, row, lines[i], host, what);
                return TRUE;
            }
        }
    }
    /* What was wrong in the end is in the last line */
    failure->kind = PASSING;
    failure->result = FAILED;
    failure->message = g_strdup_printf("Asking the BMC %s for %s has failed:"
                                       " %s", host, what, last);
    return TRUE;
}
