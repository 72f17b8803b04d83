// A program that forks, exits and unloads the library while other threads use it. The first argument is what it does.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fastbp/fastbp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTION(name) __typeof__(&name) call_##name = (__typeof__(&name))dlsym(library, #name)

static void* library;
static fastbp_net* net;
static float *params, *X;
static int64_t rows, widths[] = {600, 700, 300};
static volatile int stop;

static void prepare(int64_t n) {
    FUNCTION(fastbp_net_create);
    FUNCTION(fastbp_parameter_count);
    FUNCTION(fastbp_set_num_threads);
    const int32_t activations[] = {FASTBP_RELU, FASTBP_IDENTITY};
    fastbp_net_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.size = sizeof spec;
    spec.layers = 2;
    spec.widths = widths;
    spec.activations = activations;
    rows = n;
    call_fastbp_set_num_threads(2);
    if (call_fastbp_net_create(&spec, &net) != FASTBP_OK) exit(2);
    params = calloc((size_t)call_fastbp_parameter_count(net), sizeof *params);
    X = calloc((size_t)(rows * widths[0]), sizeof *X);
}

static int forward(float* out) {
    FUNCTION(fastbp_forward);
    fastbp_data data;
    memset(&data, 0, sizeof data);
    data.size = sizeof data;
    data.x.data = X;
    data.x.dimensions = 2;
    data.x.rows = rows;
    data.x.cols = widths[0];
    data.x.row_stride = widths[0] * (int64_t)sizeof *X;
    data.x.col_stride = sizeof *X;
    return call_fastbp_forward(net, params, &data, out, NULL) != FASTBP_OK;
}

static void* compute(void* unused) {
    float* out = malloc((size_t)(rows * widths[2]) * sizeof *out);
    while (!stop) forward(out);
    free(out);
    return unused;
}

// A child must make its call, whatever the threads of its parent do at the moment of the fork.
static int fork_often(int64_t n, int forks) {
    pthread_t threads[3];
    prepare(n);
    float* out = malloc((size_t)(rows * widths[2]) * sizeof *out);
    for (int k = 0; k < 3; ++k) pthread_create(&threads[k], NULL, compute, NULL);
    for (int k = 0; k < forks; ++k) {
        const pid_t child = fork();
        int status = 0, ended = 0;
        if (child == 0) _exit(forward(out));
        for (int wait = 0; wait < 20000 && !ended; ++wait) {
            ended = waitpid(child, &status, WNOHANG) == child;
            if (!ended) usleep(1000);
        }
        if (!ended) kill(child, SIGKILL);
        if (!ended || status != 0) {
            printf("child %d of %d: %s, status %d\n", k + 1, forks, ended ? "ended" : "hung", status);
            return 1;
        }
    }
    stop = 1;
    for (int k = 0; k < 3; ++k) pthread_join(threads[k], NULL);
    return 0;
}

static void* compute_twice(void* unused) {
    prepare(2000);
    float* out = malloc((size_t)(rows * widths[2]) * sizeof *out);
    if (forward(out) != 0 || forward(out) != 0) exit(2);
    return unused;
}

int main(int count, char** arguments) {
    pthread_t thread;
    if (count < 3 || (library = dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL)) == NULL) return 2;
    if (strcmp(arguments[1], "fork") == 0) return fork_often(1, 200);
    if (strcmp(arguments[1], "fork beside products") == 0) return fork_often(400, 50);
    if (strcmp(arguments[1], "exit") == 0) {
        prepare(2000);
        for (int k = 0; k < 3; ++k) pthread_create(&thread, NULL, compute, NULL);
        usleep(200000);
        return 7;
    }
    // In a thread of its own, which has ended: a thread that lives keeps the library, because of its thread_local data.
    pthread_create(&thread, NULL, compute_twice, NULL);
    pthread_join(thread, NULL);
    dlclose(library);
    usleep(100000);
    return 7;
}
