/* Calls every function with structs of the header that it is compiled with, and prints all results. Bytes behind each
 * struct belong to the caller. */
#include <fastbp/fastbp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 6, INPUTS = 3, HIDDEN = 4, OUTPUTS = 2, P = 4 * HIDDEN + 5 * OUTPUTS, GUARD = 64 };

static int failures = 0;

static void done(fastbp_status status, const char* what) {
    if (status == FASTBP_OK) return;
    printf("%s: status %d, '%s'\n", what, (int)status, fastbp_last_error());
    ++failures;
}

/* An empty struct with bytes behind it that nobody may touch. */
static void* guarded(size_t size) {
    char* memory = malloc(size + GUARD);
    memset(memory, 0, size);
    memset(memory + size, 77, GUARD);
    memcpy(memory, &size, sizeof size);
    return memory;
}

static void check_guard(void* memory, size_t size, const char* what) {
    size_t kept;
    memcpy(&kept, memory, sizeof kept);
    int right = kept == size;
    for (int k = 0; k < GUARD; ++k) right &= ((char*)memory)[size + (size_t)k] == 77;
    if (!right) printf("%s was written behind its end\n", what);
    failures += !right;
    free(memory);
}

static void show(const char* what, const double* numbers, int count) {
    printf("%s", what);
    for (int i = 0; i < count; ++i) printf(" %a", numbers[i]);
    printf("\n");
}

static int hook(void* context, int32_t layer, void* grad, int64_t count) {
    double* sum = context;
    for (int64_t i = 0; i < count; ++i) *sum += (layer + 1) * ((double*)grad)[i];
    return 0;
}

static double X[N * INPUTS], y[N * OUTPUTS], params[P], v[P], out[N * OUTPUTS], kept[256], grad[P],
    input_grad[N * INPUTS];

static fastbp_array matrix(double* data, int columns) {
    return (fastbp_array){data, FASTBP_FLOAT64, 0, 2, 0, N, columns, columns * 8, 8, NULL, NULL, 0, 0};
}

static fastbp_net* make_net(void) {
    const int64_t widths[] = {INPUTS, HIDDEN, OUTPUTS};
    const int32_t g[] = {FASTBP_TANH, FASTBP_IDENTITY};
    fastbp_net_spec* spec = guarded(sizeof *spec);
    spec->type = FASTBP_FLOAT64;
    spec->layers = 2;
    spec->widths = widths;
    spec->activations = g;
    spec->loss = FASTBP_SQUARED_ERROR;
    fastbp_net* net = NULL;
    done(fastbp_net_create(spec, &net), "net_create");
    check_guard(spec, sizeof *spec, "spec");
    return net;
}

static void derivatives(const fastbp_net* net, fastbp_data* data) {
    fastbp_results* results = guarded(sizeof *results);
    results->grad = grad;
    results->input_grad = input_grad;
    done(fastbp_check(net, data, FASTBP_CHECK_MEAN), "check");
    done(fastbp_evaluate(net, params, data, results), "evaluate");
    show("value", &results->value, 1);
    show("grad", grad, P);
    show("input_grad", input_grad, N * INPUTS);
    done(fastbp_forward(net, params, data, out, kept), "forward");
    show("out", out, N * OUTPUTS);
    const fastbp_array cotangent = matrix(y, OUTPUTS);
    done(fastbp_pull_back(net, params, data, kept, &cotangent, results), "pull_back");
    show("pulled back", grad, P);
    check_guard(results, sizeof *results, "results");
    fastbp_tangent* tangent = guarded(sizeof *tangent);
    tangent->params_dot = v;
    tangent->grad_dot = grad;
    done(fastbp_push_forward(net, params, data, tangent), "push_forward");
    show("pushed forward", grad, P);
    check_guard(tangent, sizeof *tangent, "tangent");
}

static void training(const fastbp_net* net, fastbp_data* data) {
    double moments[2][P] = {{0}}, lr[2] = {0.1, 0.05}, values[2], sum = 0;
    void* list[] = {moments[0], moments[1]};
    fastbp_epoch* epoch = guarded(sizeof *epoch);
    epoch->rule.size = sizeof epoch->rule;
    epoch->rule.kind = FASTBP_ADAM;
    epoch->rule.beta1 = 0.9;
    epoch->rule.beta2 = 0.999;
    epoch->rule.eps = 1e-8;
    epoch->moments = list;
    epoch->batch_size = N / 2;
    epoch->lr = lr;
    epoch->values = values;
    epoch->grad_hook = hook;
    epoch->hook_context = &sum;
    done(fastbp_run_epoch(net, params, data, epoch), "run_epoch");
    show("trained", params, P);
    show("values", values, 2);
    show("sums", &epoch->loss_sum, 1);
    show("hook", &sum, 1);
    printf("steps %d %d\n", (int)epoch->steps_done, (int)epoch->step);
    done(fastbp_update(&epoch->rule, NULL, FASTBP_FLOAT64, P, params, v, list, 0.1, 3), "update");
    show("updated", params, P);
    printf("moments %d\n", fastbp_moment_count(&epoch->rule));
    check_guard(epoch, sizeof *epoch, "epoch");
}

int main(void) {
    for (int i = 0; i < N * INPUTS; ++i) X[i] = sin(1.0 + i);
    for (int i = 0; i < N * OUTPUTS; ++i) y[i] = cos(2.0 + i);
    for (int i = 0; i < P; ++i) params[i] = sin(3.0 * i), v[i] = cos(5.0 * i);
    fastbp_net* net = make_net();
    if (net == NULL || fastbp_kept_size(net, N) > 256 || fastbp_parameter_count(net) != P) return 2;
    fastbp_data* data = guarded(sizeof *data);
    data->x = matrix(X, INPUTS);
    data->y = matrix(y, OUTPUTS);
    derivatives(net, data);
    training(net, data);
    check_guard(data, sizeof *data, "data");
    fastbp_config* config = guarded(sizeof *config);
    done(fastbp_get_config(config), "get_config");
    printf("isa %s, blas %s\n", config->isa, config->blas);
    check_guard(config, sizeof *config, "config");
    fastbp_net_destroy(net);
    fprintf(stderr, "%zu %zu %zu %zu %zu %zu\n", sizeof(fastbp_net_spec), sizeof(fastbp_data), sizeof(fastbp_results),
            sizeof(fastbp_tangent), sizeof(fastbp_epoch), sizeof(fastbp_config));
    return failures == 0 ? 0 : 1;
}
