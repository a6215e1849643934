/*
 * qemu_spice_power.c: power control by clients of the SPICE server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#include <config.h>

#include "qemu_spice_power.h"

#include "domain_audit.h"
#include "qemu_conf.h"
#include "qemu_domain.h"
#include "qemu_process.h"
#include "viralloc.h"
#include "virerror.h"
#include "virlog.h"
#include "virthreadjob.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("qemu.qemu_spice_power");

/*
 * A client of the SPICE server can ask for the domain to be reset, powered
 * off, paused or continued, or to be woken up if its guest has suspended it.
 * QEMU passes the request on as an event, waits for our reply, and leaves the
 * domain alone itself. There is only one request for a domain at a time. What
 * happens to one, from the event to the reply, is all in this file.
 *
 * Each request is carried out by a thread of the driver's spicePowerPool,
 * which has no limit: a thread may have to wait for its job for a while, as an
 * API does, and no other domain's request, nor the driver's event worker, must
 * have to wait for that.
 *
 * A request that is not answered (because the daemon is stopped, or because
 * there is no way to get at the monitor in time) fails after a time limit that
 * was set when QEMU was started.
 */

typedef struct _qemuSpicePowerJob qemuSpicePowerJob;
struct _qemuSpicePowerJob {
    virDomainObj *vm;
    int domid;
    qemuMonitorSpicePowerRequest *request;
};


static void
qemuSpicePowerJobFree(qemuSpicePowerJob *job)
{
    if (!job)
        return;

    virObjectUnref(job->vm);
    qemuMonitorSpicePowerRequestFree(job->request);
    g_free(job);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(qemuSpicePowerJob, qemuSpicePowerJobFree);


static const virDomainGraphicsDef *
qemuSpicePowerGetGraphics(const virDomainDef *def)
{
    size_t i;

    for (i = 0; i < def->ngraphics; i++) {
        const virDomainGraphicsDef *graphics = def->graphics[i];

        if (graphics->type == VIR_DOMAIN_GRAPHICS_TYPE_SPICE &&
            graphics->data.spice.powerControl == VIR_TRISTATE_BOOL_YES)
            return graphics;
    }

    return NULL;
}


/**
 * qemuSpicePowerCheckContinue:
 * @vm: domain object
 * @message: filled with the reason if it's refused (optional)
 *
 * A client may undo what a client has done, and continue a domain which has
 * stopped by itself. In all other cases there is somebody who relies on the
 * domain being paused.
 */
static qemuMonitorSpicePowerResult
qemuSpicePowerCheckContinue(virDomainObj *vm,
                            char **message)
{
    virDomainState state;
    int reason;

    state = virDomainObjGetState(vm, &reason);

    if (state == VIR_DOMAIN_CRASHED && reason == VIR_DOMAIN_CRASHED_PANICKED)
        return QEMU_MONITOR_SPICE_POWER_RESULT_OK;

    if (state == VIR_DOMAIN_PAUSED) {
        switch ((virDomainPausedReason) reason) {
        case VIR_DOMAIN_PAUSED_GRAPHICS:
        case VIR_DOMAIN_PAUSED_IOERROR:
        case VIR_DOMAIN_PAUSED_WATCHDOG:
        case VIR_DOMAIN_PAUSED_CRASHED:
            return QEMU_MONITOR_SPICE_POWER_RESULT_OK;

        case VIR_DOMAIN_PAUSED_UNKNOWN:
        case VIR_DOMAIN_PAUSED_USER:
        case VIR_DOMAIN_PAUSED_MIGRATION:
        case VIR_DOMAIN_PAUSED_SAVE:
        case VIR_DOMAIN_PAUSED_DUMP:
        case VIR_DOMAIN_PAUSED_FROM_SNAPSHOT:
        case VIR_DOMAIN_PAUSED_SHUTTING_DOWN:
        case VIR_DOMAIN_PAUSED_SNAPSHOT:
        case VIR_DOMAIN_PAUSED_STARTING_UP:
        case VIR_DOMAIN_PAUSED_POSTCOPY:
        case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
        case VIR_DOMAIN_PAUSED_API_ERROR:
        case VIR_DOMAIN_PAUSED_LAST:
            break;
        }
    }

    if (message) {
        *message = g_strdup_printf("the domain was not paused by a client: "
                                   "it is %s, reason: %s",
                                   virDomainStateTypeToString(state),
                                   NULLSTR(virDomainStateReasonToString(state, reason)));
    }

    return QEMU_MONITOR_SPICE_POWER_RESULT_WRONG_STATE;
}


/**
 * qemuSpicePowerCheck:
 * @vm: domain object
 * @action: what is asked for
 * @message: filled with the reason if it's refused (optional)
 *
 * Whether libvirt would carry out @action, as far as its own configuration and
 * state are concerned. QEMU knows what is possible in the machine's state.
 * Does not report errors: nothing is wrong with the domain, and it's up to a
 * client how often it asks.
 */
static qemuMonitorSpicePowerResult
qemuSpicePowerCheck(virDomainObj *vm,
                    virDomainGraphicsSpicePower action,
                    char **message)
{
    const virDomainGraphicsDef *graphics = qemuSpicePowerGetGraphics(vm->def);
    const char *setting = NULL;
    virDomainLifecycleAction value = 0;

    if (!graphics || !virDomainGraphicsSpicePowerConfigured(graphics, action)) {
        if (message)
            *message = g_strdup("not enabled for this domain");
        return QEMU_MONITOR_SPICE_POWER_RESULT_DENIED;
    }

    switch (action) {
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_RESET:
        /* QEMU would shut the domain down instead. */
        if (vm->def->onReboot == VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY) {
            setting = "on_reboot";
            value = vm->def->onReboot;
        }
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_OFF:
        /* The domain is not meant to stay powered off. */
        if (vm->def->onPoweroff != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY) {
            setting = "on_poweroff";
            value = vm->def->onPoweroff;
        }
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON:
        /* There is no client to ask for more than a wake-up. */
        if (virDomainObjGetState(vm, NULL) != VIR_DOMAIN_PMSUSPENDED) {
            if (message)
                *message = g_strdup("the domain was not suspended by its guest");
            return QEMU_MONITOR_SPICE_POWER_RESULT_WRONG_STATE;
        }
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE:
        return qemuSpicePowerCheckContinue(vm, message);

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE:
        /* virDomainSuspend can't do that either. */
        if (virDomainObjGetState(vm, NULL) == VIR_DOMAIN_PMSUSPENDED) {
            if (message)
                *message = g_strdup("the domain was suspended by its guest");
            return QEMU_MONITOR_SPICE_POWER_RESULT_WRONG_STATE;
        }
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST:
        break;
    }

    if (setting) {
        if (message) {
            *message = g_strdup_printf("not possible with <%s>%s</%s>",
                                       setting,
                                       virDomainLifecycleActionTypeToString(value),
                                       setting);
        }
        return QEMU_MONITOR_SPICE_POWER_RESULT_DENIED;
    }

    return QEMU_MONITOR_SPICE_POWER_RESULT_OK;
}


static qemuMonitorSpicePowerResult
qemuSpicePowerResultFromError(char **message)
{
    *message = g_strdup(virGetLastErrorMessage());

    switch (virGetLastErrorCode()) {
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_RESOURCE_BUSY:
        return QEMU_MONITOR_SPICE_POWER_RESULT_BUSY;

    case VIR_ERR_OPERATION_INVALID:
        return QEMU_MONITOR_SPICE_POWER_RESULT_WRONG_STATE;

    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
        return QEMU_MONITOR_SPICE_POWER_RESULT_UNSUPPORTED;

    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
        return QEMU_MONITOR_SPICE_POWER_RESULT_DENIED;

    default:
        return QEMU_MONITOR_SPICE_POWER_RESULT_FAILED;
    }
}


/**
 * qemuSpicePowerIsPending:
 * @vm: domain object, with a job
 * @request: the request
 *
 * Returns true unless QEMU says that it does not wait for a reply to @request.
 * In that case the client is gone, or was told that its request has failed
 * because it took so long, and would be surprised by its effect.
 */
static bool
qemuSpicePowerIsPending(virDomainObj *vm,
                        qemuMonitorSpicePowerRequest *request)
{
    g_autoptr(qemuMonitorSpicePowerRequest) pending = NULL;
    int rc;

    qemuDomainObjEnterMonitor(vm);
    rc = qemuMonitorGetSpicePowerPending(QEMU_DOMAIN_PRIVATE(vm)->mon, &pending);
    qemuDomainObjExitMonitor(vm);

    if (rc < 0) {
        virResetLastError();
        return true;
    }

    return pending && pending->id == request->id;
}


static qemuMonitorSpicePowerResult
qemuSpicePowerWakeup(virDomainObj *vm,
                     char **message)
{
    int rc;

    qemuDomainObjEnterMonitor(vm);
    rc = qemuMonitorSystemWakeup(QEMU_DOMAIN_PRIVATE(vm)->mon);
    qemuDomainObjExitMonitor(vm);

    if (rc < 0)
        return qemuSpicePowerResultFromError(message);

    return QEMU_MONITOR_SPICE_POWER_RESULT_OK;
}


static qemuMonitorSpicePowerResult
qemuSpicePowerPause(virDomainObj *vm,
                    char **message)
{
    /* These will continue the domain, or have it continued elsewhere, when
     * they are through. That's not what the client has in mind. */
    if (vm->job->asyncJob == VIR_ASYNC_JOB_MIGRATION_OUT ||
        vm->job->asyncJob == VIR_ASYNC_JOB_SNAPSHOT) {
        *message = g_strdup_printf("not possible in the course of a job: %s",
                                   virDomainAsyncJobTypeToString(vm->job->asyncJob));
        return QEMU_MONITOR_SPICE_POWER_RESULT_BUSY;
    }

    if (qemuProcessSuspendGuest(vm, VIR_DOMAIN_PAUSED_GRAPHICS) < 0)
        return qemuSpicePowerResultFromError(message);

    return QEMU_MONITOR_SPICE_POWER_RESULT_OK;
}


/**
 * qemuSpicePowerPerform:
 * @vm: domain object, with a job unless @action is power-off
 * @action: what is asked for
 * @message: filled with the reason if it wasn't done
 */
static qemuMonitorSpicePowerResult
qemuSpicePowerPerform(virDomainObj *vm,
                      virDomainGraphicsSpicePower action,
                      char **message)
{
    qemuMonitorSpicePowerResult result;

    /* Somebody else was faster. */
    if ((action == VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE ||
         action == VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON) &&
        virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING)
        return QEMU_MONITOR_SPICE_POWER_RESULT_OK;

    result = qemuSpicePowerCheck(vm, action, message);
    if (result != QEMU_MONITOR_SPICE_POWER_RESULT_OK)
        return result;

    switch (action) {
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_RESET:
        /* QEMU only takes note of system_reset, but it resets the machine
         * before it looks at what else comes from the monitor, and
         * qemuProcessResetGuest waits for the reply to more than that. */
        if (qemuProcessResetGuest(vm) < 0)
            return qemuSpicePowerResultFromError(message);
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_OFF:
        if (qemuProcessDestroyGuest(vm, 0, VIR_DOMAIN_EVENT_STOPPED_GRAPHICS) < 0)
            return qemuSpicePowerResultFromError(message);
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON:
        return qemuSpicePowerWakeup(vm, message);

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE:
        return qemuSpicePowerPause(vm, message);

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE:
        if (qemuProcessResumeGuest(vm, VIR_DOMAIN_RUNNING_GRAPHICS) < 0)
            return qemuSpicePowerResultFromError(message);
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST:
        break;
    }

    return QEMU_MONITOR_SPICE_POWER_RESULT_OK;
}


static void
qemuSpicePowerAudit(virDomainObj *vm,
                    pid_t pid,
                    qemuMonitorSpicePowerRequest *request,
                    qemuMonitorSpicePowerResult result)
{
    g_autofree char *client = g_strdup_printf("%s:%s", request->host, request->port);
    const char *ticket = NULL;

    if (request->ticket != QEMU_MONITOR_SPICE_TICKET_NONE)
        ticket = qemuMonitorSpiceTicketTypeToString(request->ticket);

    virDomainAuditGraphicsPower(vm, pid,
                                virDomainGraphicsSpicePowerTypeToString(request->action),
                                "spice", client, request->tls,
                                request->saslUsername, ticket,
                                qemuMonitorSpicePowerResultTypeToString(result),
                                result == QEMU_MONITOR_SPICE_POWER_RESULT_OK);
}


/**
 * qemuSpicePowerReply:
 * @vm: domain object, with a job
 *
 * Nothing can be done about a reply that does not get through: QEMU does no
 * longer wait for it, or is gone.
 */
static void
qemuSpicePowerReply(virDomainObj *vm,
                    qemuMonitorSpicePowerRequest *request,
                    qemuMonitorSpicePowerResult result,
                    const char *message)
{
    int rc;

    qemuDomainObjEnterMonitor(vm);
    rc = qemuMonitorSpicePowerReply(QEMU_DOMAIN_PRIVATE(vm)->mon,
                                    request->id, result, message);
    qemuDomainObjExitMonitor(vm);

    if (rc != 0)
        VIR_INFO("Reply to SPICE power request %llu not delivered", request->id);
}


/**
 * qemuSpicePowerProcess:
 * @vm: domain object (locked)
 * @domid: id of the domain whose client has asked for it
 * @request: the request
 *
 * Carries out @request, and replies to it.
 */
static void
qemuSpicePowerProcess(virDomainObj *vm,
                      int domid,
                      qemuMonitorSpicePowerRequest *request)
{
    g_autofree char *message = NULL;
    qemuMonitorSpicePowerResult result;
    pid_t pid = vm->pid;
    virDomainJob job = VIR_JOB_NONE;
    bool haveJob = false;
    int rc;

    switch (request->action) {
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_RESET:
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON:
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE:
        job = VIR_JOB_MODIFY;
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE:
        job = VIR_JOB_SUSPEND;
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_OFF:
    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST:
        /* Does not wait for others' jobs, and takes its own one. */
        job = VIR_JOB_NONE;
        break;
    }

    if (vm->def->id != domid)
        goto gone;

    if (job == VIR_JOB_NONE)
        rc = virDomainObjBeginJobNowait(vm, VIR_JOB_QUERY);
    else
        rc = virDomainObjBeginJob(vm, job);

    if (rc == 0) {
        haveJob = true;

        /* Also true if the domain is active again. */
        if (vm->def->id != domid)
            goto gone;

        if (!qemuSpicePowerIsPending(vm, request)) {
            VIR_INFO("Nobody waits for SPICE power request %llu any more",
                     request->id);
            goto cleanup;
        }

        if (vm->def->id != domid)
            goto gone;
    }

    if (job == VIR_JOB_NONE && haveJob) {
        virDomainObjEndJob(vm);
        haveJob = false;
    }

    if (job != VIR_JOB_NONE && !haveJob)
        result = qemuSpicePowerResultFromError(&message);
    else
        result = qemuSpicePowerPerform(vm, request->action, &message);

    VIR_INFO("SPICE power request %llu: %s: %s%s%s", request->id,
             virDomainGraphicsSpicePowerTypeToString(request->action),
             qemuMonitorSpicePowerResultTypeToString(result),
             message ? ": " : "", NULLSTR_EMPTY(message));

    qemuSpicePowerAudit(vm, pid, request, result);

    /* QEMU itself tells the client of a power-off that has succeeded. */
    if (!haveJob && vm->def->id == domid) {
        if (virDomainObjBeginJob(vm, VIR_JOB_QUERY) < 0)
            goto cleanup;
        haveJob = true;
    }

    if (vm->def->id == domid)
        qemuSpicePowerReply(vm, request, result, message);

 cleanup:
    if (haveJob)
        virDomainObjEndJob(vm);
    return;

 gone:
    VIR_DEBUG("Domain %s of SPICE power request %llu is gone",
              vm->def->name, request->id);
    goto cleanup;
}


/**
 * qemuSpicePowerRequestHandler:
 * @data: a qemuSpicePowerJob
 * @opaque: the driver
 *
 * Function of the threads of the driver's spicePowerPool.
 */
void
qemuSpicePowerRequestHandler(void *data,
                             void *opaque G_GNUC_UNUSED)
{
    g_autoptr(qemuSpicePowerJob) job = data;

    VIR_DEBUG("vm=%p id=%llu", job->vm, job->request->id);

    virThreadJobSet("qemuSpicePowerRequest");

    virObjectLock(job->vm);
    qemuSpicePowerProcess(job->vm, job->domid, job->request);
    virDomainObjEndAPI(&job->vm);

    virThreadJobClear(0);
    virResetLastError();
}


/**
 * qemuSpicePowerRequestSubmit:
 * @vm: domain object (locked)
 * @request: the request; stolen if it is going to be dealt with
 *
 * Has @request carried out by another thread. This is for event handlers: it
 * doesn't wait for anything.
 */
void
qemuSpicePowerRequestSubmit(virDomainObj *vm,
                            qemuMonitorSpicePowerRequest **request)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    g_autoptr(qemuSpicePowerJob) job = NULL;
    unsigned long long id = (*request)->id;

    VIR_INFO("SPICE power request %llu for domain %s: %s, from %s:%s, user %s, ticket %s",
             id, vm->def->name,
             virDomainGraphicsSpicePowerTypeToString((*request)->action),
             (*request)->host, (*request)->port,
             NULLSTR((*request)->saslUsername),
             qemuMonitorSpiceTicketTypeToString((*request)->ticket));

    /* While connecting to QEMU we may learn of it in two ways. */
    if (id <= priv->spicePowerRequestID) {
        VIR_DEBUG("SPICE power request %llu is being dealt with", id);
        return;
    }
    priv->spicePowerRequestID = id;

    job = g_new0(qemuSpicePowerJob, 1);
    job->vm = virObjectRef(vm);
    job->domid = vm->def->id;
    job->request = g_steal_pointer(request);

    if (virThreadPoolSendJob(priv->driver->spicePowerPool, 0, job) < 0) {
        /* If the daemon is about to stop, the next one will find it. */
        VIR_WARN("SPICE power request %llu for domain %s is not dealt with",
                 id, vm->def->name);
        return;
    }

    job = NULL;
}


static virBitmap *
qemuSpicePowerGetPossible(virDomainObj *vm)
{
    g_autoptr(virBitmap) possible = virBitmapNew(VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST);
    size_t i;

    for (i = 0; i < VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST; i++) {
        if (qemuSpicePowerCheck(vm, i, NULL) == QEMU_MONITOR_SPICE_POWER_RESULT_OK)
            ignore_value(virBitmapSetBit(possible, i));
    }

    return g_steal_pointer(&possible);
}


/**
 * qemuSpicePowerPossibleChanged:
 * @vm: domain object (locked)
 *
 * Returns true if qemuSpicePowerUpdatePossible has something to tell to QEMU.
 */
bool
qemuSpicePowerPossibleChanged(virDomainObj *vm)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    g_autoptr(virBitmap) possible = NULL;

    if (!qemuSpicePowerGetGraphics(vm->def))
        return false;

    possible = qemuSpicePowerGetPossible(vm);

    return !priv->spicePowerPossible ||
           !virBitmapEqual(priv->spicePowerPossible, possible);
}


/**
 * qemuSpicePowerUpdatePossible:
 * @vm: domain object, with a job
 * @asyncJob: async job that the caller is part of
 *
 * Tells QEMU which actions libvirt would carry out now, so that clients don't
 * offer others to their users. To be called when the domain's state or its
 * lifecycle actions have changed; does nothing unless that makes a difference.
 * A failure is not an error: requests are checked when they are made.
 */
void
qemuSpicePowerUpdatePossible(virDomainObj *vm,
                             virDomainAsyncJob asyncJob)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    g_autoptr(virBitmap) possible = NULL;
    virErrorPtr orig_err;
    int rc = -1;

    if (!qemuSpicePowerPossibleChanged(vm))
        return;

    possible = qemuSpicePowerGetPossible(vm);

    virErrorPreserveLast(&orig_err);

    /* Should an event change the state in the meantime, its handler must not
     * compare that with what was told before. */
    g_clear_pointer(&priv->spicePowerPossible, virBitmapFree);

    if (qemuDomainObjEnterMonitorAsync(vm, asyncJob) == 0) {
        rc = qemuMonitorSpicePowerSetPossible(priv->mon, possible);
        qemuDomainObjExitMonitor(vm);
    }

    if (rc == 0) {
        priv->spicePowerPossible = g_steal_pointer(&possible);
    } else {
        VIR_WARN("Unable to update the power actions that SPICE clients of domain %s are offered",
                 vm->def->name);
    }

    virErrorRestore(&orig_err);
}


/**
 * qemuSpicePowerReconnect:
 * @vm: domain object, with a job
 *
 * Tells QEMU what is possible, which may have changed while the daemon was not
 * running, and looks for a request that was made then. Should that fail, QEMU
 * will tell the client so.
 */
void
qemuSpicePowerReconnect(virDomainObj *vm)
{
    g_autoptr(qemuMonitorSpicePowerRequest) request = NULL;
    int rc;

    if (!qemuSpicePowerGetGraphics(vm->def))
        return;

    qemuSpicePowerUpdatePossible(vm, VIR_ASYNC_JOB_NONE);

    qemuDomainObjEnterMonitor(vm);
    rc = qemuMonitorGetSpicePowerPending(QEMU_DOMAIN_PRIVATE(vm)->mon, &request);
    qemuDomainObjExitMonitor(vm);

    if (rc < 0) {
        VIR_WARN("Cannot look for requests of SPICE clients of domain %s",
                 vm->def->name);
        virResetLastError();
    }

    if (request)
        qemuSpicePowerRequestSubmit(vm, &request);
}
