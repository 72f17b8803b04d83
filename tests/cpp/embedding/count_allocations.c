/* Linked with a trainer: counts what is allocated in the whole process, by anyone and on any thread, and tells the
 * count on stderr after every call into fastbp (by the linker's --wrap). */
#define _GNU_SOURCE
#include <errno.h>
#include <fastbp/fastbp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

static atomic_long allocations;

void* malloc(size_t size) {
    ++allocations;
    return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
    ++allocations;
    return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
    ++allocations;
    return __libc_realloc(old, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
    ++allocations;
    return __libc_memalign(alignment, size);
}
void* memalign(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
int posix_memalign(void** to, size_t alignment, size_t size) {
    *to = aligned_alloc(alignment, size);
    return *to == NULL ? ENOMEM : 0;
}

long allocations_so_far(void) { return allocations; }

static fastbp_status after(const char* name, fastbp_status status) {
    char line[100];
    const int length = snprintf(line, sizeof line, "%s %ld\n", name, (long)allocations);
    return write(STDERR_FILENO, line, (size_t)length) == length ? status : FASTBP_RUNTIME_ERROR;
}

#define WRAPPED(name, parameters, arguments)       \
    fastbp_status __real_fastbp_##name parameters; \
    fastbp_status __wrap_fastbp_##name parameters { return after(#name, __real_fastbp_##name arguments); }

WRAPPED(net_create, (const fastbp_net_spec* spec, fastbp_net** net), (spec, net))
WRAPPED(evaluate, (const fastbp_net* net, const void* params, const fastbp_data* data, fastbp_results* results),
        (net, params, data, results))
WRAPPED(run_epoch, (const fastbp_net* net, void* params, const fastbp_data* data, fastbp_epoch* epoch),
        (net, params, data, epoch))
WRAPPED(update,
        (const fastbp_step_rule* rule, const char* device, int32_t type, int64_t count, void* params, const void* grad,
         void* const* moments, double lr, int64_t step),
        (rule, device, type, count, params, grad, moments, lr, step))
