/* The same door from C: a net, a value, and an error by its status and text. */
#include <fastbp/fastbp.h>
#include <stdio.h>
#include <string.h>

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
    spec.size = 1;
    fastbp_net* other = NULL;
    if (fastbp_net_create(&spec, &other) != FASTBP_VALUE_ERROR || strstr(fastbp_last_error(), "spec.size") == NULL)
        return 4;
    fastbp_net_destroy(net);
    return 0;
}
