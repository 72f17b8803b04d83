/* The same door from C: a net, a value, and an error by its status and text. */
#include <fastbp/fastbp.h>
#include <stdio.h>
#include <string.h>

static int refused(fastbp_status status, const char* text) {
    const int right = status == FASTBP_VALUE_ERROR && strstr(fastbp_last_error(), text) != NULL;
    if (!right) printf("status %d, '%s', expected '%s'\n", (int)status, fastbp_last_error(), text);
    return right;
}

/* What a careless caller forgets, on a net 2-1 with double numbers and one row of data. */
static int carelessness_is_refused(const fastbp_net* net, double* params, fastbp_data data, fastbp_results results) {
    double* const X = data.x.data;
    double moments[3] = {0}, kept[1], out[1];
    void* one[] = {moments, NULL};
    fastbp_epoch epoch = {0};
    epoch.size = sizeof epoch;
    epoch.rule.size = sizeof epoch.rule;
    epoch.rule.kind = FASTBP_ADAM;
    epoch.batch_size = 1;
    epoch.lr = out;
    int right = refused(fastbp_forward(NULL, params, &data, out, NULL), "net is NULL");
    right &= refused(fastbp_evaluate(NULL, params, &data, &results), "net is NULL");
    right &= refused(fastbp_evaluate(net, params, NULL, &results), "data is NULL");
    right &= refused(fastbp_pull_back(net, params, &data, NULL, &data.x, &results), "kept is NULL");
    right &= refused(fastbp_run_epoch(net, params, &data, &epoch), "moments is NULL, expected 2 arrays");
    epoch.moments = one;
    right &= refused(fastbp_run_epoch(net, params, &data, &epoch), "moments[1] is NULL");
    right &= refused(fastbp_update(&epoch.rule, NULL, FASTBP_FLOAT64, 3, params, moments, one, 1, 1), "moments[1]");
    right &= refused(fastbp_update(&epoch.rule, NULL, FASTBP_FLOAT64, -1, params, moments, one, 1, 1), "count is -1");
    right &= refused(fastbp_forward(net, params, &data, X + 1, NULL), "out overlaps X");
    right &= refused(fastbp_forward(net, params, &data, params, NULL), "out overlaps params");
    right &= refused(fastbp_forward(net, params, &data, kept, kept), "out overlaps kept");
    results.input_grad = X;
    right &= refused(fastbp_evaluate(net, params, &data, &results), "input_grad overlaps X");
    results.input_grad = results.grad;
    right &= refused(fastbp_evaluate(net, params, &data, &results), "input_grad overlaps grad");
    results.input_grad = NULL;
    fastbp_tangent tangent = {0};
    tangent.size = sizeof tangent;
    tangent.params_dot = results.grad;
    tangent.output_dot = X;
    right &= refused(fastbp_push_forward(net, params, &data, &tangent), "output_dot overlaps X");
    tangent.output_dot = out;
    tangent.grad_dot = results.grad;
    right &= refused(fastbp_push_forward(net, params, &data, &tangent), "grad_dot overlaps params_dot");
    data.y.data = NULL;
    right &= refused(fastbp_evaluate(net, params, &data, &results), "y.data is NULL, expected 1 x 1 numbers");
    data.x.data = NULL;
    right &= refused(fastbp_forward(net, params, &data, out, NULL), "X.data is NULL");
    void* memory = NULL;
    right &= fastbp_allocate("cpu", SIZE_MAX, &memory) == FASTBP_MEMORY_ERROR && memory == NULL;
    right &= fastbp_parameter_count(NULL) == 0 && fastbp_kept_size(NULL, 1) == 0;
    return right;
}

int main(void) {
    const int64_t sizes[] = {2, 1};
    const int32_t g[] = {FASTBP_IDENTITY};
    fastbp_net_spec spec = {0};
    spec.size = sizeof spec;
    spec.type = FASTBP_FLOAT64;
    spec.layers = 1;
    spec.widths = sizes;
    spec.activations = g;
    spec.loss = FASTBP_SQUARED_ERROR;
    fastbp_net* net = NULL;
    if (fastbp_net_create(&spec, &net) != FASTBP_OK) return 1;
    double X[] = {1, 2}, y[] = {3}, params[] = {0, 0, 0}, grad[3];
    fastbp_data data = {0};
    data.size = sizeof data;
    data.x = (fastbp_array){X, FASTBP_FLOAT64, 0, 2, 0, 1, 2, 16, 8};
    data.y = (fastbp_array){y, FASTBP_FLOAT64, 0, 1, 0, 1, 1, 8, 8};
    fastbp_results results = {0};
    results.size = sizeof results;
    results.grad = grad;
    if (fastbp_evaluate(net, params, &data, &results) != FASTBP_OK) return 2;
    printf("value %g, gradient %g %g %g\n", results.value, grad[0], grad[1], grad[2]);
    if (results.value != 4.5 || grad[0] != -3 || grad[1] != -6 || grad[2] != -3) return 3;
    if (!carelessness_is_refused(net, params, data, results)) return 5;
    if (X[0] != 1 || X[1] != 2 || params[0] != 0 || grad[0] != -3) return 6; /* a refused call has changed nothing */
    spec.size = 1;
    fastbp_net* other = NULL;
    if (fastbp_net_create(&spec, &other) != FASTBP_VALUE_ERROR || strstr(fastbp_last_error(), "spec.size") == NULL)
        return 4;
    fastbp_net_destroy(net);
    return 0;
}
