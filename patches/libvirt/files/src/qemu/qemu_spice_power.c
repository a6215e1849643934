/*
 * qemu_spice_power.c: power control by clients of the SPICE server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#include <config.h>

#include "qemu_spice_power.h"

#define LIBVIRT_QEMU_SPICE_POWERPRIV_H_ALLOW
#include "qemu_spice_powerpriv.h"

#include "domain_audit.h"
#include "qemu_conf.h"
#include "qemu_domain.h"
#include "qemu_process.h"
#include "viralloc.h"
#include "virerror.h"
#include "virlog.h"
#include "virthreadjob.h"
#include "virtime.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("qemu.qemu_spice_power");

/*
 * A client of the SPICE server can ask for the domain to be reset, powered
 * off, paused or continued, or to be woken up if its guest has suspended it.
 * QEMU passes the request on as an event and waits for our reply; it does not
 * act by itself. There is only one request for a domain at a time.
 *
 * Requests are carried out by the workers of the driver's spicePowerPool,
 * whose number is limited. A worker must not be kept by a domain that is busy,
 * since the clients of all other domains would have to wait as well. So it only
 * tries to get a job, and if it can't the request is given back to the pool by
 * a timer, a moment later. After QEMU_SPICE_POWER_WAIT_TIME the client is told
 * that the domain is busy.
 *
 * To reply takes a job, too. If there is none to be had for so long that QEMU
 * gives up on us, it tells the client that its request has failed. The same
 * happens if the daemon is not running; a request that has been made in the
 * meantime is found when it connects to QEMU.
 */

/* How long a request waits for another job to end: as long as somebody who has
 * pressed a button may be kept waiting */
#define QEMU_SPICE_POWER_WAIT_TIME (1000ull * 3)

/* After that time QEMU has answered the request itself, see the option
 * power-timeout of -spice */
#define QEMU_SPICE_POWER_REPLY_TIME (1000ull * 30)

/* The time between two attempts to get a job, or a thread, in ms */
#define QEMU_SPICE_POWER_RETRY_JOB_TIME 100
#define QEMU_SPICE_POWER_RETRY_THREAD_TIME 500


void
qemuSpicePowerJobFree(qemuSpicePowerJob *job)
{
    if (!job)
        return;

    virObjectUnref(job->vm);
    qemuMonitorSpicePowerRequestFree(job->request);
    g_free(job->message);
    g_free(job);
}


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
 * A client may continue what a client has paused, and a domain that has stopped
 * by itself. In all other cases somebody relies on the domain being paused.
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


/* Whether the domain is kept as it was when its guest OS crashed */
static bool
qemuSpicePowerIsPreserved(virDomainObj *vm)
{
    int reason;
    virDomainState state = virDomainObjGetState(vm, &reason);

    return vm->def->onCrash == VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE &&
           (state == VIR_DOMAIN_CRASHED ||
            (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_CRASHED));
}


/**
 * qemuSpicePowerCheck:
 * @vm: domain object
 * @action: what is asked for
 * @message: filled with the reason if it's refused (optional)
 *
 * Whether libvirt would carry out @action, as far as its own configuration and
 * state are concerned. QEMU knows what is possible in the machine's state.
 * No error is reported: a refusal does not mean that anything is wrong, and
 * clients can ask as often as they like.
 */
qemuMonitorSpicePowerResult
qemuSpicePowerCheck(virDomainObj *vm,
                    virDomainGraphicsSpicePower action,
                    char **message)
{
    const virDomainGraphicsDef *graphics = qemuSpicePowerGetGraphics(vm->def);
    const char *setting = NULL;
    virDomainLifecycleAction value = 0;

    if (!graphics || !virDomainGraphicsSpicePowerConfigured(graphics, action)) {
        if (message)
            *message = g_strdup(QEMU_SPICE_POWER_NOT_ALLOWED);
        return QEMU_MONITOR_SPICE_POWER_RESULT_DENIED;
    }

    if (qemuSpicePowerIsPreserved(vm)) {
        if (message)
            *message = g_strdup("the guest OS has crashed, and the domain is preserved with <on_crash>preserve</on_crash>");
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
        /* This domain is to be started again, or to be preserved. */
        if (vm->def->onPoweroff != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY) {
            setting = "on_poweroff";
            value = vm->def->onPoweroff;
        }
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON:
        /* A domain that is shut off has no client that could ask. */
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


/* Whether the domain that has made the request has ended; it may be active
 * again by now. */
static bool
qemuSpicePowerIsGone(qemuSpicePowerJob *job)
{
    return job->vm->def->id != job->domid;
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
    /* These jobs resume the domain, here or on another host, when they end. */
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
        /* system_reset may return before the machine is reset, but QEMU does
         * that before it takes the reply. */
        if (qemuProcessResetGuest(vm) < 0)
            return qemuSpicePowerResultFromError(message);
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_OFF:
        if (qemuProcessDestroyGuest(vm, 0) < 0)
            return qemuSpicePowerResultFromError(message);
        break;

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_ON:
        return qemuSpicePowerWakeup(vm, message);

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE:
        return qemuSpicePowerPause(vm, message);

    case VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE:
        if (qemuProcessResumeGuest(vm) < 0)
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
                                qemuMonitorSpicePowerActionTypeToString(request->action),
                                "spice", client, request->tls,
                                request->saslUsername, ticket,
                                qemuMonitorSpicePowerResultTypeToString(result),
                                result == QEMU_MONITOR_SPICE_POWER_RESULT_OK);
}


/**
 * qemuSpicePowerReply:
 * @job: the request, which is decided; its domain has a job
 *
 * Tells the client what has become of its request.
 */
static void
qemuSpicePowerReply(qemuSpicePowerJob *job)
{
    qemuDomainObjPrivate *priv = job->vm->privateData;
    const char *message = job->message;
    int rc;

    qemuDomainObjEnterMonitor(job->vm);
    rc = qemuMonitorSpicePowerReply(priv->mon, job->request->id,
                                    job->result, message);
    qemuDomainObjExitMonitor(job->vm);

    if (rc <= 0)
        return;

    if (qemuSpicePowerIsGone(job) ||
        !qemuSpicePowerIsPending(job->vm, job->request) ||
        qemuSpicePowerIsGone(job)) {
        VIR_INFO("Nobody waits for the result of SPICE power request %llu any more",
                 job->request->id);
        return;
    }

    /* If QEMU doesn't like the message, the client shall not have to wait
     * until the request times out because of that. */
    VIR_WARN("QEMU does not take the reply to SPICE power request %llu of domain %s: %s",
             job->request->id, job->vm->def->name, NULLSTR(message));

    if (!message)
        return;

    qemuDomainObjEnterMonitor(job->vm);
    ignore_value(qemuMonitorSpicePowerReply(priv->mon, job->request->id,
                                            job->result, NULL));
    qemuDomainObjExitMonitor(job->vm);
}


/**
 * qemuSpicePowerDecided:
 * @job: the request
 * @pid: the process of the domain that has made it, which may be gone by now
 * @result: what has become of it
 * @message: the reason (optional); stolen
 */
static void
qemuSpicePowerDecided(qemuSpicePowerJob *job,
                      pid_t pid,
                      qemuMonitorSpicePowerResult result,
                      char **message)
{
    job->decided = true;
    job->result = result;
    job->message = g_steal_pointer(message);

    VIR_INFO("SPICE power request %llu: %s: %s%s%s", job->request->id,
             qemuMonitorSpicePowerActionTypeToString(job->request->action),
             qemuMonitorSpicePowerResultTypeToString(result),
             job->message ? ": " : "", NULLSTR_EMPTY(job->message));

    qemuSpicePowerAudit(job->vm, pid, job->request, result);
}


/**
 * qemuSpicePowerPerformInJob:
 * @job: the request; its domain has a job
 *
 * Carries out any request but power-off, and replies to it.
 */
static void
qemuSpicePowerPerformInJob(qemuSpicePowerJob *job)
{
    g_autofree char *message = NULL;
    qemuMonitorSpicePowerResult result;
    pid_t pid = job->vm->pid;

    if (!qemuSpicePowerIsPending(job->vm, job->request)) {
        VIR_INFO("Nobody waits for SPICE power request %llu any more",
                 job->request->id);
        return;
    }

    if (qemuSpicePowerIsGone(job))
        return;

    result = qemuSpicePowerPerform(job->vm, job->request->action, &message);
    qemuSpicePowerDecided(job, pid, result, &message);

    if (!qemuSpicePowerIsGone(job))
        qemuSpicePowerReply(job);
}


/**
 * qemuSpicePowerPerformPowerOff:
 * @job: the request; its domain has no job
 *
 * Carries out a power-off, which doesn't have to wait for others' jobs.
 *
 * Returns true if it was tried, false if nobody waits for that any more.
 */
static bool
qemuSpicePowerPerformPowerOff(qemuSpicePowerJob *job)
{
    g_autofree char *message = NULL;
    qemuMonitorSpicePowerResult result;
    pid_t pid = job->vm->pid;

    if (virDomainObjBeginJobNowait(job->vm, VIR_JOB_QUERY) == 0) {
        bool pending = qemuSpicePowerIsPending(job->vm, job->request);

        virDomainObjEndJob(job->vm);

        if (!pending || qemuSpicePowerIsGone(job)) {
            VIR_INFO("Nobody waits for SPICE power request %llu any more",
                     job->request->id);
            return false;
        }
    }

    result = qemuSpicePowerPerform(job->vm, job->request->action, &message);
    qemuSpicePowerDecided(job, pid, result, &message);

    return true;
}


static char *
qemuSpicePowerFormatHolder(virDomainObj *vm,
                           virDomainJob wanted)
{
    const char *name = virDomainJobTypeToString(vm->job->active);
    const char *api = vm->job->ownerAPI;

    if (!virDomainNestedJobAllowed(vm->job, wanted)) {
        name = virDomainAsyncJobTypeToString(vm->job->asyncJob);
        api = vm->job->asyncOwnerAPI;
    }

    return g_strdup_printf("the domain is busy with another job: %s (held by %s)",
                           name, NULLSTR(api));
}


/**
 * qemuSpicePowerProcess:
 * @job: the request; its domain is locked
 *
 * Carries out a request and replies to it, without waiting for a job.
 *
 * Returns true if there is nothing left to do, false if it has to be called
 * again because the domain has another job.
 */
bool
qemuSpicePowerProcess(qemuSpicePowerJob *job)
{
    virDomainObj *vm = job->vm;
    virDomainJob type = VIR_JOB_MODIFY;
    unsigned long long now;

    if (qemuSpicePowerIsGone(job) ||
        virTimeMillisNow(&now) < 0)
        return true;

    if (job->request->action == VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE)
        type = VIR_JOB_SUSPEND;

    if (!job->decided) {
        if (job->request->action == VIR_DOMAIN_GRAPHICS_SPICE_POWER_POWER_OFF) {
            if (!qemuSpicePowerPerformPowerOff(job))
                return true;
        } else if (virDomainObjBeginJobNowait(vm, type) == 0) {
            qemuSpicePowerPerformInJob(job);
            virDomainObjEndJob(vm);
            return true;
        } else if (now < job->received + QEMU_SPICE_POWER_WAIT_TIME) {
            return false;
        } else {
            g_autofree char *message = qemuSpicePowerFormatHolder(vm, type);

            qemuSpicePowerDecided(job, vm->pid,
                                  QEMU_MONITOR_SPICE_POWER_RESULT_BUSY, &message);
        }
    }

    /* QEMU itself tells the client of a power-off that has succeeded. */
    if (qemuSpicePowerIsGone(job))
        return true;

    if (virDomainObjBeginJobNowait(vm, VIR_JOB_QUERY) < 0)
        return now >= job->received + QEMU_SPICE_POWER_REPLY_TIME;

    qemuSpicePowerReply(job);
    virDomainObjEndJob(vm);

    return true;
}


static void
qemuSpicePowerSend(qemuSpicePowerJob *job);


static void
qemuSpicePowerRetry(int timer,
                    void *opaque)
{
    virEventRemoveTimeout(timer);
    qemuSpicePowerSend(opaque);
}


/* In the end it is QEMU that tells the client that nobody was there. */
static void
qemuSpicePowerGiveUp(qemuSpicePowerJob *job)
{
    VIR_WARN("SPICE power request %llu from %s:%s was not dealt with",
             job->request->id, job->request->host, job->request->port);
    qemuSpicePowerJobFree(job);
}


static void
qemuSpicePowerSendLater(qemuSpicePowerJob *job,
                        int timeout)
{
    if (virEventAddTimeout(timeout, qemuSpicePowerRetry, job, NULL) < 0)
        qemuSpicePowerGiveUp(job);
}


/**
 * qemuSpicePowerSend:
 * @job: the request; stolen
 *
 * Gives the request to the pool, or tries that again later.
 */
static void
qemuSpicePowerSend(qemuSpicePowerJob *job)
{
    qemuDomainObjPrivate *priv = job->vm->privateData;
    unsigned long long now;

    if (virThreadPoolSendJob(priv->driver->spicePowerPool, 0, job) == 0)
        return;

    /* There are no threads, or the daemon is about to stop. */
    if (virTimeMillisNow(&now) == 0 &&
        now < job->received + QEMU_SPICE_POWER_REPLY_TIME) {
        qemuSpicePowerSendLater(job, QEMU_SPICE_POWER_RETRY_THREAD_TIME);
        return;
    }

    qemuSpicePowerGiveUp(job);
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
    qemuSpicePowerJob *job = data;
    bool done;

    virThreadJobSet("qemuSpicePowerRequest");

    virObjectLock(job->vm);
    done = qemuSpicePowerProcess(job);
    virObjectUnlock(job->vm);

    virThreadJobClear(0);
    virResetLastError();

    if (done)
        qemuSpicePowerJobFree(job);
    else
        qemuSpicePowerSendLater(job, QEMU_SPICE_POWER_RETRY_JOB_TIME);
}


/**
 * qemuSpicePowerRequestSubmit:
 * @vm: domain object (locked)
 * @request: the request; stolen
 *
 * Has @request carried out by another thread. This is for event handlers: it
 * doesn't wait for anything.
 */
void
qemuSpicePowerRequestSubmit(virDomainObj *vm,
                            qemuMonitorSpicePowerRequest *request)
{
    qemuDomainObjPrivate *priv = vm->privateData;
    qemuSpicePowerJob *job = NULL;

    VIR_INFO("SPICE power request %llu for domain %s: %s, from %s:%s, user %s, ticket %s",
             request->id, vm->def->name,
             qemuMonitorSpicePowerActionTypeToString(request->action),
             request->host, request->port,
             NULLSTR(request->saslUsername),
             qemuMonitorSpiceTicketTypeToString(request->ticket));

    /* While connecting to QEMU we may learn of it in two ways. */
    if (request->id <= priv->spicePowerRequestID) {
        VIR_DEBUG("SPICE power request %llu is being dealt with", request->id);
        qemuMonitorSpicePowerRequestFree(request);
        return;
    }
    priv->spicePowerRequestID = request->id;

    job = g_new0(qemuSpicePowerJob, 1);
    job->vm = virObjectRef(vm);
    job->domid = vm->def->id;
    job->request = request;
    ignore_value(virTimeMillisNow(&job->received));

    qemuSpicePowerSend(job);
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
 * qemuSpicePowerSetAllowed:
 * @vm: domain object, with a job
 * @graphics: definition of the SPICE server
 * @asyncJob: async job that the caller is part of
 *
 * Tells QEMU which actions clients may ask for according to @graphics.
 *
 * Returns 0 on success, -1 on error (with error reported).
 */
int
qemuSpicePowerSetAllowed(virDomainObj *vm,
                         const virDomainGraphicsDef *graphics,
                         virDomainAsyncJob asyncJob)
{
    g_autoptr(virBitmap) allowed = virBitmapNew(VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST);
    int rc;
    size_t i;

    for (i = 0; i < VIR_DOMAIN_GRAPHICS_SPICE_POWER_LAST; i++) {
        if (virDomainGraphicsSpicePowerConfigured(graphics, i))
            ignore_value(virBitmapSetBit(allowed, i));
    }

    if (qemuDomainObjEnterMonitorAsync(vm, asyncJob) < 0)
        return -1;

    rc = qemuMonitorSpicePowerSetAllowed(QEMU_DOMAIN_PRIVATE(vm)->mon, allowed,
                                         QEMU_SPICE_POWER_NOT_ALLOWED);
    qemuDomainObjExitMonitor(vm);

    return rc;
}


/**
 * qemuSpicePowerStart:
 * @vm: domain object that is being started, with a job
 * @asyncJob: async job that the caller is part of
 *
 * Tells QEMU what clients may ask for, and what of that is possible.
 *
 * Returns 0 on success, -1 on error (with error reported).
 */
int
qemuSpicePowerStart(virDomainObj *vm,
                    virDomainAsyncJob asyncJob)
{
    const virDomainGraphicsDef *graphics = qemuSpicePowerGetGraphics(vm->def);

    if (!graphics)
        return 0;

    if (qemuSpicePowerSetAllowed(vm, graphics, asyncJob) < 0)
        return -1;

    qemuSpicePowerUpdatePossible(vm, asyncJob);

    return 0;
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
    qemuMonitorSpicePowerRequest *request = NULL;
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
        qemuSpicePowerRequestSubmit(vm, request);
}
