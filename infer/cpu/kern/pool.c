// Worker threads that run a whole step without returning: they are woken once
// per step and meet at spinning barriers between ops.

#define _GNU_SOURCE
#include "cpu.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	// About the gap between two decode steps: a worker that stays awake over
	// it saves the next step a wake-up of tens of microseconds.
	IDLE_SPINS = 2000,
	// About as long as threads that run wait for each other. Past it, the thread that
	// is missing may be waiting for this very core. Then to sleep beats to yield: who
	// yields is last of all that want the core, and who is woken comes first.
	BARRIER_SPINS = 500,
};

struct pool {
	int32_t threads;
	pthread_t *ids;
	// Counters of steps and barriers wrap around in a process that runs for
	// months, so they are unsigned and only compared for equality.
	_Alignas(64) atomic_uint epoch; // grows by one per step; futex of idle workers
	atomic_int sleepers;
	_Alignas(64) atomic_int arrived;
	_Alignas(64) atomic_uint round; // grows by one per barrier; futex of those who came early
	atomic_int early;
	_Alignas(64) atomic_uint running; // futex of the caller
	atomic_int waiting;
	run_fn f; // null ends the workers
	exec *e;
};

typedef struct {
	pool *p;
	int32_t thread;
} worker;

static inline void relax(void) {
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

// wait_change returns once a value is no longer seen. No wake-up is lost: the
// sleeper announces itself before it looks at the value again, who changes it does so
// before it looks for sleepers, and all four are sequentially consistent; between that
// look and the sleep, the kernel compares once more.
static void wait_change(atomic_uint *at, unsigned seen, atomic_int *sleepers, int spins) {
	for (int i = 0; i < spins; i++) {
		if (atomic_load_explicit(at, memory_order_acquire) != seen) return;
		relax();
	}
	atomic_fetch_add(sleepers, 1);
	while (atomic_load(at) == seen) syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
	atomic_fetch_sub(sleepers, 1);
}

// wake_all follows a change of the value.
static void wake_all(atomic_uint *at, atomic_int *sleepers) {
	if (atomic_load(sleepers) > 0) syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}

static void *work(void *arg) {
	worker w = *(worker *)arg;
	free(arg);
	pool *p = w.p;
	for (unsigned seen = 0;; seen++) {
		wait_change(&p->epoch, seen, &p->sleepers, IDLE_SPINS);
		if (!p->f) return 0;
		p->f(p->e, w.thread);
		atomic_fetch_sub(&p->running, 1);
		wake_all(&p->running, &p->waiting);
	}
}

static void release(pool *p) {
	atomic_fetch_add(&p->epoch, 1);
	wake_all(&p->epoch, &p->sleepers);
}

// start creates a worker that takes no signals: a handler on one thread would
// hold all others at the next barrier. Faults of its own code still end the
// process with a report.
static int start(pool *p, worker *w) {
	sigset_t none, before;
	sigfillset(&none);
	const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&none, faults[i]);
	pthread_sigmask(SIG_SETMASK, &none, &before); // inherited by the new thread
	pthread_t *id = &p->ids[w->thread];
	int err = pthread_create(id, 0, work, w); // the thread frees w
	pthread_sigmask(SIG_SETMASK, &before, 0);
	if (!err) pthread_setname_np(*id, "edged-cpu");
	return err;
}

pool *edged_pool_new(int32_t threads) {
	pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
	if (!p) return 0;
	*p = (pool){.threads = 1};
	p->ids = calloc(threads, sizeof *p->ids);
	if (!p->ids) goto fail;
	for (; p->threads < threads; p->threads++) {
		worker *w = malloc(sizeof *w);
		if (!w) goto fail;
		*w = (worker){p, p->threads};
		if (start(p, w)) {
			free(w);
			goto fail;
		}
	}
	return p;
fail:
	edged_pool_free(p);
	return 0;
}

void edged_pool_free(pool *p) {
	if (!p) return;
	p->f = 0;
	release(p);
	for (int32_t i = 1; i < p->threads; i++) pthread_join(p->ids[i], 0);
	free(p->ids);
	free(p);
}

// edged_pool_run runs f on every thread, the caller being thread 0, and
// returns whether the step was cancelled.
int32_t edged_pool_run(pool *p, run_fn f, exec *e) {
	p->f = f;
	p->e = e;
	atomic_store(&p->running, p->threads - 1);
	release(p);
	f(e, 0);
	for (unsigned left; (left = atomic_load_explicit(&p->running, memory_order_acquire)) > 0;) wait_change(&p->running, left, &p->waiting, BARRIER_SPINS);
	return e->stopped;
}

// edged_now is a clock in nanoseconds.
int64_t edged_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

// edged_pool_await returns once another thread has stored a value, without telling
// anybody: past the usual wait this one sleeps for about as long again.
void edged_pool_await(const int64_t *at, int64_t value) {
	const struct timespec nap = {.tv_nsec = 20000};
	for (int spins = 0; __atomic_load_n(at, __ATOMIC_ACQUIRE) != value; spins++) {
		if (spins < BARRIER_SPINS) relax();
		else nanosleep(&nap, 0);
	}
}

// decide is called by one thread while all others wait or have nothing to do. Mostly it
// writes nothing: all read that line after each barrier.
static void decide(exec *e) {
	if (__atomic_load_n(&e->cancel, __ATOMIC_RELAXED)) e->stopped = 1;
}

// edged_pool_barrier holds every thread until all have come. The last one
// decides for all whether the step goes on.
void edged_pool_barrier(pool *p, exec *e) {
	if (p->threads == 1) {
		decide(e);
		return;
	}
	unsigned round = atomic_load_explicit(&p->round, memory_order_acquire);
	if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->threads - 1) {
		atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
		decide(e);
		atomic_fetch_add(&p->round, 1);
		wake_all(&p->round, &p->early);
		return;
	}
	wait_change(&p->round, round, &p->early, BARRIER_SPINS);
}
