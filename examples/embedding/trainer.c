/* A trainer in C: Adam through fastbp_run_epoch, then the gradient of all rows where it ended.
 *
 * All arrays are this program's; the library's own memory is made by the first call of each kind. Numbers are float
 * unless REAL is defined as double. Printed in hexadecimal, so that not a bit is lost. */
#include <fastbp/fastbp.h>
#include <stdio.h>

#ifndef REAL
#define REAL float
#endif

enum { ROWS = 256, INPUTS = 2, HIDDEN = 16, CLASSES = 2, BATCH = 32, STEPS = ROWS / BATCH, EPOCHS = 20 };
enum { PARAMETERS = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * CLASSES };
static const int32_t type = sizeof(REAL) == sizeof(float) ? FASTBP_FLOAT32 : FASTBP_FLOAT64;

static REAL X[ROWS * INPUTS], params[PARAMETERS], grad[PARAMETERS], m[PARAMETERS], v[PARAMETERS];
static int32_t y[ROWS];

/* The i-th of a fixed row of numbers from -1 to below 1, exact in every type. */
static REAL number(uint32_t i) {
    i = (i + 1) * 2654435761u;
    i ^= i >> 15;
    i *= 2246822519u;
    return (REAL)(i >> 22) / 512 - 1;
}

/* Two classes that no straight line parts, and the parameters to start from. */
static void fill(void) {
    for (int n = 0; n < ROWS; ++n) {
        for (int j = 0; j < INPUTS; ++j) X[n * INPUTS + j] = number((uint32_t)(n * INPUTS + j));
        y[n] = X[n * INPUTS] * X[n * INPUTS + 1] > 0;
    }
    for (int p = 0; p < PARAMETERS; ++p) params[p] = number((uint32_t)(ROWS * INPUTS + p)) / 2;
}

static fastbp_status make_net(fastbp_net** net) {
    const int64_t widths[] = {INPUTS, HIDDEN, CLASSES};
    const int32_t activations[] = {FASTBP_TANH, FASTBP_SOFTMAX};
    fastbp_net_spec spec = {0};
    spec.size = sizeof spec;
    spec.type = type;
    spec.layers = 2;
    spec.widths = widths;
    spec.activations = activations;
    spec.loss = FASTBP_CROSS_ENTROPY;
    spec.deterministic = 1; /* the same bits for any number of threads */
    return fastbp_net_create(&spec, net);
}

static fastbp_data make_data(void) {
    fastbp_data data = {0};
    data.size = sizeof data;
    data.x = (fastbp_array){.data = X,
                            .type = type,
                            .dimensions = 2,
                            .rows = ROWS,
                            .cols = INPUTS,
                            .row_stride = INPUTS * sizeof(REAL),
                            .col_stride = sizeof(REAL)};
    data.y = (fastbp_array){.data = y,
                            .type = FASTBP_INT32,
                            .dimensions = 1,
                            .rows = ROWS,
                            .cols = 1,
                            .row_stride = sizeof(int32_t),
                            .col_stride = sizeof(int32_t)};
    return data;
}

static fastbp_status train(const fastbp_net* net, const fastbp_data* data) {
    void* const moments[] = {m, v};
    double lr[STEPS];
    for (int step = 0; step < STEPS; ++step) lr[step] = 0.05;
    fastbp_epoch epoch = {0};
    epoch.size = sizeof epoch;
    epoch.rule.size = sizeof epoch.rule;
    epoch.rule.kind = FASTBP_ADAM;
    epoch.rule.beta1 = 0.9;
    epoch.rule.beta2 = 0.999;
    epoch.rule.eps = 1e-8;
    epoch.moments = moments;
    epoch.batch_size = BATCH;
    epoch.lr = lr;
    for (int k = 0; k < EPOCHS; ++k) { /* epoch.step counts on from one to the next */
        const fastbp_status status = fastbp_run_epoch(net, params, data, &epoch);
        if (status != FASTBP_OK) return status;
        printf("loss %a\n", epoch.loss_sum / epoch.weight_sum);
    }
    return FASTBP_OK;
}

static void print(const char* name, const REAL* numbers) {
    printf("%s", name);
    for (int p = 0; p < PARAMETERS; ++p) printf(" %a", (double)numbers[p]);
    printf("\n");
}

/* Everything that can fail, up to the first that does. */
static fastbp_status run(fastbp_net** net) {
    fill();
    fastbp_status status = make_net(net);
    if (status != FASTBP_OK) return status;
    const fastbp_data data = make_data();
    fastbp_results results = {0};
    results.size = sizeof results;
    results.grad = grad;
    if ((status = fastbp_evaluate(*net, params, &data, &results)) != FASTBP_OK) return status;
    print("first_grad", grad);
    if ((status = train(*net, &data)) != FASTBP_OK) return status;
    if ((status = fastbp_evaluate(*net, params, &data, &results)) != FASTBP_OK) return status;
    printf("value %a\n", results.value);
    print("grad", grad);
    print("params", params);
    return FASTBP_OK;
}

int main(void) {
    fastbp_net* net = NULL;
    const fastbp_status status = run(&net);
    if (status != FASTBP_OK) fprintf(stderr, "fastbp: status %d: %s\n", (int)status, fastbp_last_error());
    fastbp_net_destroy(net);
    return status == FASTBP_OK ? 0 : 1;
}
