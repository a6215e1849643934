/*
 * qemuspicepowertest.c: what SPICE clients may do to the power of a domain
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#include <config.h>

#include "testutils.h"
#include "testutilsqemu.h"

#define LIBVIRT_QEMU_SPICE_POWERPRIV_H_ALLOW
#include "qemu/qemu_spice_powerpriv.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static virQEMUDriver driver;


struct testCheckData {
    const char *reset;
    const char *powerOff;
    const char *powerOn;
    const char *pause;
    const char *cont;
    virDomainState state;
    int reason;
    bool rebootDestroys;
    virDomainLifecycleAction onPoweroff;
    virDomainLifecycleAction onCrash;
    bool off; /* powerControl='no' */
    int without; /* action that <power> takes away, plus 1 */
};

static int
testCheck(const void *opaque)
{
    const struct testCheckData *data = opaque;
    const char *expect[] = {
        data->reset, data->powerOff, data->powerOn, data->pause, data->cont,
    };
    g_autoptr(virDomainObj) vm = NULL;
    virDomainGraphicsDef *graphics;
    size_t i;

    G_STATIC_ASSERT(G_N_ELEMENTS(expect) == VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST);

    if (!(vm = virDomainObjNew(driver.xmlopt)) ||
        !(vm->def = virDomainDefNew(driver.xmlopt)) ||
        !(graphics = virDomainGraphicsDefNew(driver.xmlopt)))
        return -1;

    virDomainObjSetState(vm, data->state, data->reason);
    vm->def->onReboot = data->rebootDestroys ?
        VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY : VIR_DOMAIN_LIFECYCLE_ACTION_RESTART;
    vm->def->onPoweroff = data->onPoweroff;
    vm->def->onCrash = data->onCrash;

    graphics->type = VIR_DOMAIN_GRAPHICS_TYPE_SPICE;
    graphics->data.spice.powerControl = virTristateBoolFromBool(!data->off);
    if (data->without)
        graphics->data.spice.powerActions[data->without - 1] = VIR_TRISTATE_BOOL_NO;
    VIR_APPEND_ELEMENT(vm->def->graphics, vm->def->ngraphics, graphics);

    for (i = 0; i < G_N_ELEMENTS(expect); i++) {
        g_autofree char *message = NULL;
        qemuMonitorSpicePowerResult result;

        result = qemuSpicePowerCheck(vm, i, &message);

        if (virTestCompareToString(expect[i],
                                   qemuMonitorSpicePowerResultTypeToString(result)) < 0)
            return -1;

        if (!message != (result == QEMU_MONITOR_SPICE_POWER_RESULT_OK)) {
            VIR_TEST_VERBOSE("unexpected message '%s'", NULLSTR(message));
            return -1;
        }

        if (qemuSpicePowerCheck(vm, i, NULL) != result)
            return -1;
    }

    /* Clients could fill the log */
    if (virGetLastErrorCode() != VIR_ERR_OK)
        return -1;

    return 0;
}


static int
mymain(void)
{
    int ret = 0;

    if (qemuTestDriverInit(&driver) < 0)
        return EXIT_FAILURE;

#define OK "ok"
#define DENIED "denied"
#define WRONG "wrong-state"

#define DO_TEST_CHECK(name, st, why, ...) \
    do { \
        struct testCheckData data = { \
            .state = VIR_DOMAIN_ ## st, \
            .reason = VIR_DOMAIN_ ## st ## _ ## why, \
            __VA_ARGS__ \
        }; \
        if (virTestRun("Check " #st " " #why name, testCheck, &data) < 0) \
            ret = -1; \
    } while (0)

#define DECISION(r, off, on, p, c) \
    .reset = r, .powerOff = off, .powerOn = on, .pause = p, .cont = c

#define NOTHING \
    DECISION(DENIED, DENIED, DENIED, DENIED, DENIED)

    /*                                                    reset, power-off, power-on, pause, continue */
    DO_TEST_CHECK("", RUNNING, BOOTED,           DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", RUNNING, UNPAUSED,         DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PMSUSPENDED, UNKNOWN,      DECISION(OK, OK, OK, WRONG, WRONG));

    /* by a client, or by itself */
    DO_TEST_CHECK("", PAUSED, GRAPHICS,          DECISION(OK, OK, WRONG, OK, OK));
    DO_TEST_CHECK("", PAUSED, IOERROR,           DECISION(OK, OK, WRONG, OK, OK));
    DO_TEST_CHECK("", PAUSED, WATCHDOG,          DECISION(OK, OK, WRONG, OK, OK));
    DO_TEST_CHECK("", PAUSED, CRASHED,           DECISION(OK, OK, WRONG, OK, OK));
    DO_TEST_CHECK("", CRASHED, PANICKED,         DECISION(OK, OK, WRONG, OK, OK));

    /* somebody else relies on it */
    DO_TEST_CHECK("", PAUSED, UNKNOWN,           DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, USER,              DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, MIGRATION,         DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, SAVE,              DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, DUMP,              DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, FROM_SNAPSHOT,     DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, SHUTTING_DOWN,     DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, SNAPSHOT,          DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, STARTING_UP,       DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, POSTCOPY,          DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, POSTCOPY_FAILED,   DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", PAUSED, API_ERROR,         DECISION(OK, OK, WRONG, OK, WRONG));
    DO_TEST_CHECK("", CRASHED, UNKNOWN,          DECISION(OK, OK, WRONG, OK, WRONG));

    /* What the domain's lifecycle actions make impossible. They are 'destroy'
     * unless something else is said. */
#define ON_POWEROFF(action) .onPoweroff = VIR_DOMAIN_LIFECYCLE_ACTION_ ## action
#define ON_CRASH(action) .onCrash = VIR_DOMAIN_LIFECYCLE_ACTION_ ## action

    DO_TEST_CHECK(", on_reboot=destroy", RUNNING, BOOTED,
                  DECISION(DENIED, OK, WRONG, OK, WRONG), .rebootDestroys = true);
    DO_TEST_CHECK(", on_reboot=destroy", PAUSED, GRAPHICS,
                  DECISION(DENIED, OK, WRONG, OK, OK), .rebootDestroys = true);
    DO_TEST_CHECK(", on_poweroff=restart", RUNNING, BOOTED,
                  DECISION(OK, DENIED, WRONG, OK, WRONG), ON_POWEROFF(RESTART));
    DO_TEST_CHECK(", on_poweroff=preserve", PMSUSPENDED, UNKNOWN,
                  DECISION(OK, DENIED, OK, WRONG, WRONG), ON_POWEROFF(PRESERVE));

    /* Somebody wants to see what has happened in the guest OS. */
    DO_TEST_CHECK(", on_crash=preserve", CRASHED, PANICKED, NOTHING, ON_CRASH(PRESERVE));
    DO_TEST_CHECK(", on_crash=preserve", CRASHED, UNKNOWN, NOTHING, ON_CRASH(PRESERVE));
    DO_TEST_CHECK(", on_crash=preserve", PAUSED, CRASHED, NOTHING, ON_CRASH(PRESERVE));
    DO_TEST_CHECK(", on_crash=preserve", PAUSED, GRAPHICS,
                  DECISION(OK, OK, WRONG, OK, OK), ON_CRASH(PRESERVE));
    DO_TEST_CHECK(", on_crash=preserve", RUNNING, CRASHED,
                  DECISION(OK, OK, WRONG, OK, WRONG), ON_CRASH(PRESERVE));
    DO_TEST_CHECK(", on_crash=restart", CRASHED, PANICKED,
                  DECISION(OK, OK, WRONG, OK, OK), ON_CRASH(RESTART));

    /* what it is configured for */
#define WITHOUT(action) .without = VIR_DOMAIN_GRAPHICS_SPICE_POWER_ ## action + 1

    DO_TEST_CHECK(", powerControl=no", RUNNING, BOOTED, NOTHING, .off = true);
    DO_TEST_CHECK(", powerControl=no", PAUSED, GRAPHICS, NOTHING, .off = true);
    DO_TEST_CHECK(", reset=no", RUNNING, BOOTED,
                  DECISION(DENIED, OK, WRONG, OK, WRONG), WITHOUT(RESET));
    DO_TEST_CHECK(", powerOff=no", RUNNING, BOOTED,
                  DECISION(OK, DENIED, WRONG, OK, WRONG), WITHOUT(POWER_OFF));
    DO_TEST_CHECK(", powerOn=no", PMSUSPENDED, UNKNOWN,
                  DECISION(OK, OK, DENIED, WRONG, WRONG), WITHOUT(POWER_ON));
    DO_TEST_CHECK(", pause=no", RUNNING, BOOTED,
                  DECISION(OK, OK, WRONG, DENIED, WRONG), WITHOUT(PAUSE));
    DO_TEST_CHECK(", continue=no", PAUSED, GRAPHICS,
                  DECISION(OK, OK, WRONG, OK, DENIED), WITHOUT(CONTINUE));

    qemuTestDriverFree(&driver);

    return ret == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

VIR_TEST_MAIN(mymain)
