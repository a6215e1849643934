/*
 * Unit test for a machine that two threads stop at the same time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "accel/accel-cpu-ops.h"
#include "block/block-global-state.h"
#include "exec/cpu-common.h"
#include "exec/gdbstub.h"
#include "hw/core/cpu.h"
#include "hw/nmi.h"
#include "hw/qdev-core.h"
#include "monitor/monitor.h"
#include "qapi/qapi-events-run-state.h"
#include "qemu/accel.h"
#include "qemu/main-loop.h"
#include "qemu/plugin.h"
#include "qemu/thread.h"
#include "system/cpu-timers.h"
#include "system/cpus.h"
#include "system/kvm.h"
#include "system/replay.h"
#include "system/runstate.h"

static RunState run_state;
static bool devices_stopped;
static void (*in_notifier)(void);
static QemuSemaphore state_set, vcpu_may_stop;
static QemuThread thread, vcpu;
static CPUState cpu;

__thread CPUState *current_cpu;
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);

/* What the machine consists of */

bool runstate_is_running(void)
{
    return run_state == RUN_STATE_RUNNING;
}

RunState runstate_get(void)
{
    return run_state;
}

void runstate_set(RunState state)
{
    if (state == RUN_STATE_FINISH_MIGRATE) {
        /* Whoever sets this goes on to save the machine */
        g_assert_true(cpu.stopped);
        g_assert_true(devices_stopped);
    }
    run_state = state;
    qemu_sem_post(&state_set);
}

void runstate_stopped_again(RunState reason)
{
}

int vm_state_notify(bool running, RunState state)
{
    g_assert_false(running);
    g_assert_true(cpu.stopped);
    if (in_notifier) {
        in_notifier();
    }
    devices_stopped = true;
    return 0;
}

/* It takes its time, as one that waits for the BQL does */
static void *vcpu_thread(void *opaque)
{
    qemu_sem_wait(&vcpu_may_stop);
    bql_lock();
    g_assert_true(cpu.stop);
    qemu_process_cpu_events_common(&cpu);
    bql_unlock();
    return NULL;
}

static void kick(CPUState *c)
{
}

static void start(void)
{
    run_state = RUN_STATE_RUNNING;
    devices_stopped = false;
    cpu.stopped = false;
    qemu_sem_init(&state_set, 0);
    qemu_sem_init(&vcpu_may_stop, 0);
    qemu_thread_create(&vcpu, "vcpu", vcpu_thread, NULL, QEMU_THREAD_JOINABLE);
}

static void *migration_thread(void *opaque)
{
    qemu_sem_wait(&state_set);
    /* Now the other one waits for the vCPU, and that one for the BQL */
    bql_lock();
    g_assert_cmpint(run_state, ==, RUN_STATE_PAUSED);
    g_assert_false(cpu.stopped);
    qemu_sem_post(&vcpu_may_stop);
    vm_stop_force_state(RUN_STATE_FINISH_MIGRATE);
    bql_unlock();
    return NULL;
}

static void test_two_threads(void)
{
    start();
    bql_lock();
    qemu_thread_create(&thread, "migration", migration_thread, NULL,
                       QEMU_THREAD_JOINABLE);
    vm_stop(RUN_STATE_PAUSED);
    bql_unlock();

    qemu_thread_join(&thread);
    qemu_thread_join(&vcpu);
    g_assert_cmpint(run_state, ==, RUN_STATE_FINISH_MIGRATE);
}

static void stop_again(void)
{
    vm_stop_force_state(RUN_STATE_SHUTDOWN);
}

/* A thread does not wait for itself */
static void test_one_thread(void)
{
    in_notifier = stop_again;
    start();
    bql_lock();
    qemu_sem_post(&vcpu_may_stop);
    vm_stop(RUN_STATE_PAUSED);
    bql_unlock();
    in_notifier = NULL;

    qemu_thread_join(&vcpu);
    g_assert_cmpint(run_state, ==, RUN_STATE_SHUTDOWN);
    g_assert_true(devices_stopped);
}

int main(int argc, char **argv)
{
    static AccelOpsClass ops = {
        .kick_vcpu_thread = kick,
        .handle_interrupt = generic_handle_interrupt,
    };
    static QemuCond halt_cond;

    g_test_init(&argc, &argv, NULL);

    ops.create_vcpu_thread = kick;
    cpus_register_accel(&ops);
    qemu_init_cpu_loop();
    qemu_cond_init(&halt_cond);
    cpu.halt_cond = &halt_cond;
    cpu.thread = &vcpu;
    QTAILQ_INSERT_TAIL_RCU(&cpus_queue, &cpu, node);

    g_test_add_func("/vm-stop/two-threads", test_two_threads);
    g_test_add_func("/vm-stop/one-thread", test_one_thread);

    return g_test_run();
}

/* Nothing below is of interest here */

void bdrv_drain_all(void)
{
}

int bdrv_flush_all(void)
{
    return 0;
}

void cpu_address_space_init(CPUState *c, int asidx, const char *prefix,
                            MemoryRegion *mr)
{
}

void cpu_disable_ticks(void)
{
}

void cpu_dump_state(CPUState *c, FILE *f, int flags)
{
}

void cpu_enable_ticks(void)
{
}

void cpu_exit(CPUState *c)
{
}

bool cpu_has_work(CPUState *c)
{
    return false;
}

int64_t cpu_get_ticks(void)
{
    return 0;
}

int cpu_memory_rw_debug(CPUState *c, vaddr addr, void *ptr, size_t len,
                        bool is_write)
{
    return -1;
}

void cpu_physical_memory_read(hwaddr addr, void *buf, hwaddr len)
{
}

void accel_pre_resume(MachineState *ms, bool step_pending)
{
}

void cpu_single_step(CPUState *c, int enabled)
{
}

void do_run_on_cpu(CPUState *c, run_on_cpu_func func, run_on_cpu_data data,
                   QemuMutex *mutex)
{
}

void gdb_set_stop_cpu(CPUState *c)
{
}

int kvm_on_sigbus_vcpu(CPUState *c, int code, void *addr)
{
    return 1;
}

int kvm_on_sigbus(int code, void *addr)
{
    return 1;
}

int monitor_get_cpu_index(Monitor *mon)
{
    return -1;
}

void nmi_monitor_handle(int cpu_index, Error **errp)
{
}

void process_queued_cpu_work(CPUState *c)
{
}

void qapi_event_send_resume(void)
{
}

void qapi_event_send_stop(void)
{
}

#ifdef CONFIG_PLUGIN
void qemu_plugin_vcpu_idle_cb(CPUState *c)
{
}

void qemu_plugin_vcpu_resume_cb(CPUState *c)
{
}
#endif

Object *qdev_get_machine(void)
{
    return NULL;
}

CPUState *qemu_get_cpu(int index)
{
    return NULL;
}

void qemu_system_debug_request(void)
{
}

void qemu_system_vmstop_request(RunState state)
{
}

void qemu_system_vmstop_request_prepare(void)
{
}

void replay_breakpoint(void)
{
}

bool replay_running_debug(void)
{
    return false;
}

bool qemu_vmstop_requested(RunState *r)
{
    return false;
}
