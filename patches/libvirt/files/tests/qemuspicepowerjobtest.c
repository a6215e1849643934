/*
 * qemuspicepowerjobtest.c: what becomes of requests of SPICE clients
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

#include <config.h>

#include "qemu/qemu_domain.h"
#include "qemumonitortestutils.h"
#include "testutils.h"
#include "testutilsqemu.h"
#include "virthreadjob.h"
#include "virthreadpool.h"
#include "virtime.h"

#define LIBVIRT_QEMU_SPICE_POWERPRIV_H_ALLOW
#include "qemu/qemu_spice_powerpriv.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static virQEMUDriver driver;

#define TEST_DOMAIN_ID 7
#define TEST_REQUEST_ID 5

/* What qemuSpicePowerProcess waits for a job at the most, in ms */
#define TEST_WAIT_TIME 3000
/* and to be able to reply */
#define TEST_REPLY_TIME 30000


static virDomainObj *
testDomainNew(void)
{
    g_autoptr(virDomainObj) vm = NULL;
    virDomainGraphicsDef *graphics;

    if (!(vm = virDomainObjNew(driver.xmlopt)) ||
        !(vm->def = virDomainDefNew(driver.xmlopt)) ||
        !(graphics = virDomainGraphicsDefNew(driver.xmlopt)))
        return NULL;

    vm->def->name = g_strdup("vm1");
    vm->def->virtType = VIR_DOMAIN_VIRT_QEMU;
    vm->def->id = TEST_DOMAIN_ID;
    vm->def->onReboot = VIR_DOMAIN_LIFECYCLE_ACTION_RESTART;
    vm->def->onPoweroff = VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY;
    vm->def->onCrash = VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY;

    graphics->type = VIR_DOMAIN_GRAPHICS_TYPE_SPICE;
    graphics->data.spice.powerControl = VIR_TRISTATE_BOOL_YES;
    VIR_APPEND_ELEMENT(vm->def->graphics, vm->def->ngraphics, graphics);

    virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);

    return g_steal_pointer(&vm);
}


typedef struct _testRequest testRequest;
struct _testRequest {
    virDomainObj *vm;
    qemuMonitorTest *mon;
    qemuSpicePowerJob *job;
};

static void
testRequestFree(testRequest *req)
{
    if (!req)
        return;

    qemuSpicePowerJobFree(req->job);

    /* the monitor is not to be disposed of with the domain */
    if (req->mon) {
        virObjectLock(qemuMonitorTestGetMonitor(req->mon));
        QEMU_DOMAIN_PRIVATE(req->vm)->mon = NULL;
        qemuMonitorTestFree(req->mon);
    }

    virObjectUnref(req->vm);
    g_free(req);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(testRequest, testRequestFree);


/* A request that has come @ago ms ago */
static testRequest *
testRequestNew(virDomainGraphicsSpicePower action,
               unsigned long long ago)
{
    g_autoptr(testRequest) req = g_new0(testRequest, 1);
    unsigned long long now;

    if (virTimeMillisNow(&now) < 0 ||
        !(req->vm = testDomainNew()) ||
        !(req->mon = qemuMonitorTestNew(driver.xmlopt, req->vm, NULL, NULL)))
        return NULL;

    QEMU_DOMAIN_PRIVATE(req->vm)->mon = qemuMonitorTestGetMonitor(req->mon);
    virObjectUnlock(qemuMonitorTestGetMonitor(req->mon));

    req->job = g_new0(qemuSpicePowerJob, 1);
    req->job->vm = virObjectRef(req->vm);
    req->job->domid = TEST_DOMAIN_ID;
    req->job->received = now - ago;
    req->job->request = g_new0(qemuMonitorSpicePowerRequest, 1);
    req->job->request->id = TEST_REQUEST_ID;
    req->job->request->action = action;
    req->job->request->host = g_strdup("192.0.2.1");
    req->job->request->port = g_strdup("58240");

    return g_steal_pointer(&req);
}


/* QEMU says which request waits, none if @id is 0 */
static int
testAddPending(testRequest *req,
               int id)
{
    g_autofree char *pending = NULL;
    g_autofree char *reply = NULL;

    if (id > 0) {
        pending = g_strdup_printf(",\"pending\":{\"id\":%d,\"action\":\"continue\","
                                  "\"client\":{\"host\":\"192.0.2.1\",\"port\":\"58240\","
                                  "\"family\":\"ipv4\",\"tls\":false},"
                                  "\"connection-id\":1,\"request-id\":1}", id);
    }

    reply = g_strdup_printf("{\"return\":{\"enabled\":true,\"power\":{\"mode\":\"managed\"%s}}}",
                            NULLSTR_EMPTY(pending));

    return qemuMonitorTestAddItem(req->mon, "query-spice", reply);
}


/* @number is that of the command */
static int
testAddReply(testRequest *req,
             int number,
             const char *result,
             const char *message,
             bool refused)
{
    g_autofree char *words = NULL;
    g_autofree char *command = NULL;

    if (message)
        words = g_strdup_printf(",\"message\":\"%s\"", message);

    command = g_strdup_printf("{\"execute\":\"spice-power-reply\","
                              "\"arguments\":{\"id\":%d,\"result\":\"%s\"%s},"
                              "\"id\":\"libvirt-%d\"}",
                              TEST_REQUEST_ID, result, NULLSTR_EMPTY(words), number);

    return qemuMonitorTestAddItemVerbatim(req->mon, command, NULL,
                                          refused ?
                                          "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}" :
                                          "{\"return\":{}}");
}


#define TEST_BY_USER \
    "the domain was not paused by a client: it is paused, reason: user"

/* A request that is refused in the end, by a domain that was paused by a user */
static testRequest *
testContinueNew(unsigned long long ago)
{
    testRequest *req = testRequestNew(VIR_DOMAIN_GRAPHICS_SPICE_POWER_CONTINUE, ago);

    if (req)
        virDomainObjSetState(req->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);

    return req;
}


/* Calls qemuSpicePowerProcess, which has to return @expect without an error */
static int
testProcess(testRequest *req,
            bool expect)
{
    virResetLastError();

    if (qemuSpicePowerProcess(req->job) != expect) {
        VIR_TEST_VERBOSE("should be %s", expect ? "done" : "tried again");
        return -1;
    }

    if (virGetLastErrorCode() != VIR_ERR_OK)
        return -1;

    return 0;
}


static int
testRefused(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;

    if (!(req = testContinueNew(0)) ||
        testAddPending(req, TEST_REQUEST_ID) < 0 ||
        testAddReply(req, 2, "wrong-state", TEST_BY_USER, false) < 0)
        return -1;

    return testProcess(req, true);
}


/* A client that has gone, or was told by QEMU that nobody answers */
static int
testNotPending(const void *opaque)
{
    const int *id = opaque;
    g_autoptr(testRequest) req = NULL;

    if (!(req = testContinueNew(0)) ||
        testAddPending(req, *id) < 0)
        return -1;

    if (testProcess(req, true) < 0)
        return -1;

    return req->job->decided ? -1 : 0;
}


/* The domain has ended, and has been started again. */
static int
testOtherDomain(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;

    if (!(req = testContinueNew(0)))
        return -1;

    req->vm->def->id++;

    return testProcess(req, true);
}


/* QEMU doesn't take the reply: the client has gone since, or it is malformed */
static int
testReplyNotTaken(const void *opaque)
{
    const int *id = opaque;
    g_autoptr(testRequest) req = NULL;

    if (!(req = testContinueNew(0)) ||
        testAddPending(req, TEST_REQUEST_ID) < 0 ||
        testAddReply(req, 2, "wrong-state", TEST_BY_USER, true) < 0 ||
        testAddPending(req, *id) < 0)
        return -1;

    if (*id == TEST_REQUEST_ID &&
        testAddReply(req, 4, "wrong-state", NULL, false) < 0)
        return -1;

    return testProcess(req, true);
}


/* Nobody may be kept waiting because of a domain that is busy. */
static int
testBusy(const void *opaque)
{
    const bool *queueFull = opaque;
    g_autoptr(testRequest) req = NULL;
    int ret = -1;

    if (!(req = testContinueNew(0)))
        return -1;

    if (*queueFull)
        req->vm->job->maxQueuedJobs = 1;

    virThreadJobSet("somebodyElse");
    if (virDomainObjBeginJob(req->vm, VIR_JOB_MODIFY) < 0)
        return -1;

    if (testProcess(req, false) < 0 || req->job->decided)
        goto endjob;

    req->job->received -= TEST_WAIT_TIME;
    if (testProcess(req, false) < 0 || !req->job->decided)
        goto endjob;

    ret = 0;

 endjob:
    virDomainObjEndJob(req->vm);
    virThreadJobClear(0);

    if (ret < 0)
        return -1;

    if (testAddReply(req, 1, "busy",
                     "the domain is busy with another job: modify (held by somebodyElse)",
                     false) < 0)
        return -1;

    return testProcess(req, true);
}


/* A job that ends in time */
static int
testBusyNoMore(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;
    int rc;

    if (!(req = testContinueNew(TEST_WAIT_TIME / 2)))
        return -1;

    if (virDomainObjBeginJob(req->vm, VIR_JOB_MODIFY) < 0)
        return -1;

    rc = testProcess(req, false);
    virDomainObjEndJob(req->vm);

    if (rc < 0 ||
        testAddPending(req, TEST_REQUEST_ID) < 0 ||
        testAddReply(req, 2, "wrong-state", TEST_BY_USER, false) < 0)
        return -1;

    return testProcess(req, true);
}


/* A job in the course of which the monitor can be used */
static int
testBusyAsync(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;
    int ret = -1;

    if (!(req = testContinueNew(0)))
        return -1;

    virThreadJobSet("somebodyElse");
    if (virDomainObjBeginAsyncJob(req->vm, VIR_ASYNC_JOB_DUMP,
                                  VIR_DOMAIN_JOB_OPERATION_DUMP, 0) < 0)
        return -1;

    if (testProcess(req, false) < 0)
        goto endjob;

    if (testAddReply(req, 1, "busy",
                     "the domain is busy with another job: dump (held by somebodyElse)",
                     false) < 0)
        goto endjob;

    req->job->received -= TEST_WAIT_TIME;
    ret = testProcess(req, true);

 endjob:
    virDomainObjEndAsyncJob(req->vm);
    virThreadJobClear(0);

    return ret;
}


/* QEMU has answered by itself. */
static int
testBusyForever(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;
    int rc;

    if (!(req = testContinueNew(TEST_REPLY_TIME)))
        return -1;

    if (virDomainObjBeginJob(req->vm, VIR_JOB_MODIFY) < 0)
        return -1;

    rc = testProcess(req, true);
    virDomainObjEndJob(req->vm);

    return rc;
}


/* --- What does not reach a thread at once --- */

struct testPool {
    virMutex lock;
    virCond cond;
    qemuSpicePowerJob *job;
};

static void
testPoolHandler(void *data,
                void *opaque)
{
    struct testPool *pool = opaque;

    virMutexLock(&pool->lock);
    pool->job = data;
    virCondSignal(&pool->cond);
    virMutexUnlock(&pool->lock);
}


static int
testSubmitLater(const void *opaque G_GNUC_UNUSED)
{
    struct testPool pool = { .lock = VIR_MUTEX_INITIALIZER };
    g_autoptr(testRequest) req = NULL;
    qemuMonitorSpicePowerRequest *request;
    unsigned long long id;
    int ret = -1;

    if (virCondInit(&pool.cond) < 0)
        return -1;

    if (!(req = testContinueNew(0)))
        return -1;

    request = g_steal_pointer(&req->job->request);

    /* one that takes nothing, as if there were no threads to be had */
    if (!(driver.spicePowerPool = virThreadPoolNewFull(0, 1, 0, testPoolHandler,
                                                       "none", NULL, &pool)))
        return -1;
    virThreadPoolStop(driver.spicePowerPool);

    qemuSpicePowerRequestSubmit(req->vm, request);
    virThreadPoolFree(driver.spicePowerPool);

    if (!(driver.spicePowerPool = virThreadPoolNewFull(0, 1, 0, testPoolHandler,
                                                       "test", NULL, &pool)))
        return -1;

    /* until the timer was there */
    while (virThreadPoolGetCurrentWorkers(driver.spicePowerPool) == 0) {
        if (virEventRunDefaultImpl() < 0)
            goto cleanup;
    }

    virMutexLock(&pool.lock);
    while (!pool.job)
        ignore_value(virCondWait(&pool.cond, &pool.lock));
    id = pool.job->request->id;
    virMutexUnlock(&pool.lock);

    if (id == TEST_REQUEST_ID && pool.job->vm == req->vm)
        ret = 0;

 cleanup:
    g_clear_pointer(&driver.spicePowerPool, virThreadPoolFree);
    g_clear_pointer(&pool.job, qemuSpicePowerJobFree);
    virCondDestroy(&pool.cond);
    return ret;
}


/* --- What clients are shown as possible --- */

struct testStopped {
    virDomainObj *vm;
    bool changed;
};

/* As if the domain stopped while QEMU is being told that it runs */
static int
testStoppedMeanwhile(qemuMonitorTest *mon,
                     qemuMonitorTestItem *item,
                     const char *cmdstr G_GNUC_UNUSED)
{
    struct testStopped *stopped = qemuMonitorTestItemGetPrivateData(item);

    virObjectLock(stopped->vm);
    virDomainObjSetState(stopped->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR);
    stopped->changed = qemuSpicePowerPossibleChanged(stopped->vm);
    virObjectUnlock(stopped->vm);

    return qemuMonitorTestAddResponse(mon, "{\"return\":{}}");
}


#define TEST_SET_POSSIBLE(actions, number) \
    "{\"execute\":\"spice-power-set-possible\"," \
    "\"arguments\":{\"actions\":[" actions "]},\"id\":\"libvirt-" #number "\"}"

static int
testPossible(const void *opaque G_GNUC_UNUSED)
{
    g_autoptr(testRequest) req = NULL;
    struct testStopped stopped = { 0 };
    int ret = -1;

    if (!(req = testRequestNew(VIR_DOMAIN_GRAPHICS_SPICE_POWER_PAUSE, 0)))
        return -1;

    stopped.vm = req->vm;

    if (qemuMonitorTestAddItemVerbatim(req->mon,
                                       TEST_SET_POSSIBLE("\"reset\",\"power-off\",\"pause\",\"continue\"", 1),
                                       NULL, "{\"return\":{}}") < 0)
        return -1;

    qemuMonitorTestAddHandler(req->mon, "spice-power-set-possible",
                              testStoppedMeanwhile, &stopped, NULL);

    if (virDomainObjBeginJob(req->vm, VIR_JOB_MODIFY) < 0)
        return -1;

    virDomainObjSetState(req->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_GRAPHICS);
    qemuSpicePowerUpdatePossible(req->vm, VIR_ASYNC_JOB_NONE);

    /* it makes no difference for what reason, and nothing is sent */
    virDomainObjSetState(req->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_WATCHDOG);
    if (qemuSpicePowerPossibleChanged(req->vm))
        goto endjob;
    qemuSpicePowerUpdatePossible(req->vm, VIR_ASYNC_JOB_NONE);

    virDomainObjSetState(req->vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
    qemuSpicePowerUpdatePossible(req->vm, VIR_ASYNC_JOB_NONE);

    /* The handler of the event has to see a difference, though it is the same
     * as before; and so does who comes later. */
    if (!stopped.changed || !qemuSpicePowerPossibleChanged(req->vm))
        goto endjob;

    ret = 0;

 endjob:
    virDomainObjEndJob(req->vm);
    return ret;
}


static int
mymain(void)
{
    const int none = 0;
    const int same = TEST_REQUEST_ID;
    const int next = TEST_REQUEST_ID + 1;
    const bool full = true;
    const bool room = false;
    int ret = 0;

    if (virEventRegisterDefaultImpl() < 0 ||
        qemuTestDriverInit(&driver) < 0)
        return EXIT_FAILURE;

#define DO_TEST(name, func, data) \
    do { \
        if (virTestRun(name, func, data) < 0) \
            ret = -1; \
    } while (0)

    DO_TEST("Refused", testRefused, NULL);
    DO_TEST("Nobody waits", testNotPending, &none);
    DO_TEST("Another one waits", testNotPending, &next);
    DO_TEST("Another domain", testOtherDomain, NULL);
    DO_TEST("Client leaves before the reply", testReplyNotTaken, &none);
    DO_TEST("Reply is not taken", testReplyNotTaken, &same);
    DO_TEST("Busy", testBusy, &room);
    DO_TEST("Busy, max_queued", testBusy, &full);
    DO_TEST("Busy for a while", testBusyNoMore, NULL);
    DO_TEST("Busy with an async job", testBusyAsync, NULL);
    DO_TEST("Busy for too long", testBusyForever, NULL);
    DO_TEST("No thread at first", testSubmitLater, NULL);
    DO_TEST("Stops while QEMU is told", testPossible, NULL);

    qemuTestDriverFree(&driver);

    return ret == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

VIR_TEST_MAIN(mymain)
