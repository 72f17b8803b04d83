/* Times fastbp_evaluate on a 2-4-1 net with one row: `bare_call COUNT` prints ns per call, the value and the gradient.
 * overhead.py compiles and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fastbp/fastbp.h"

enum { PARAMETERS = 17 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static fastbp_array row(float* data, int64_t cols) {
    fastbp_array array;
    memset(&array, 0, sizeof array);
    array.data = data;
    array.type = FASTBP_FLOAT32;
    array.dimensions = 2;
    array.rows = 1;
    array.cols = cols;
    array.row_stride = cols * (int64_t)sizeof(float);
    array.col_stride = (int64_t)sizeof(float);
    return array;
}

static fastbp_net* make_net(void) {
    const int64_t widths[] = {2, 4, 1};
    const int32_t activations[] = {FASTBP_TANH, FASTBP_IDENTITY};
    fastbp_net_spec spec;
    fastbp_net* net = NULL;
    memset(&spec, 0, sizeof spec);
    spec.size = sizeof spec;
    spec.type = FASTBP_FLOAT32;
    spec.layers = 2;
    spec.widths = widths;
    spec.activations = activations;
    spec.loss = FASTBP_SQUARED_ERROR;
    if (fastbp_net_create(&spec, &net) != FASTBP_OK) {
        fprintf(stderr, "%s\n", fastbp_last_error());
        exit(1);
    }
    return net;
}

int main(int argc, char** argv) {
    const long count = argc > 1 ? atol(argv[1]) : 1000000;
    float x[] = {0.5f, -1.0f}, y[] = {0.25f}, params[PARAMETERS], grad[PARAMETERS];
    fastbp_net* net = make_net();
    fastbp_data data;
    fastbp_results results;
    double start, end;
    for (int k = 0; k < PARAMETERS; k++) params[k] = (float)(k - 8) / 8.0f;
    memset(&data, 0, sizeof data);
    data.size = sizeof data;
    data.x = row(x, 2);
    data.y = row(y, 1);
    memset(&results, 0, sizeof results);
    results.size = sizeof results;
    results.grad = grad;
    start = now();
    for (long k = 0; k < count; k++) {
        if (fastbp_evaluate(net, params, &data, &results) != FASTBP_OK) {
            fprintf(stderr, "%s\n", fastbp_last_error());
            return 1;
        }
    }
    end = now();
    printf("%.3f %.9g", (end - start) / (double)count, results.value);
    for (int k = 0; k < PARAMETERS; k++) printf(" %.9g", grad[k]);
    printf("\n");
    fastbp_net_destroy(net);
    return 0;
}
