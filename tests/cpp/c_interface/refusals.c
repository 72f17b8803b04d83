/* What a careless caller gives to the C interface, and what an early end leaves in the results. */
#include <fastbp/fastbp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

static void expect(int right, const char* what) {
    if (right) return;
    printf("%s: '%s'\n", what, fastbp_last_error());
    ++failures;
}

static void refused(fastbp_status status, const char* text) {
    expect(status == FASTBP_VALUE_ERROR && strstr(fastbp_last_error(), text) != NULL, text);
}

static double X[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[4] = {1, 2, 3, 4}, c[4] = {0, 0, 1, 2}, params[3] = {0.1, 0.2, 0.3},
              grad[3], values[4], lr[4] = {0.1, 0.1, 0.1, 0.1};
static int64_t masked[2] = {1, 0};

static fastbp_net* make(int loss) {
    const int64_t widths[] = {2, 1};
    const int32_t g[] = {FASTBP_IDENTITY};
    fastbp_net_spec spec = {0};
    spec.size = sizeof spec;
    spec.type = FASTBP_FLOAT64;
    spec.layers = 1;
    spec.widths = widths;
    spec.activations = g;
    spec.loss = loss;
    fastbp_net* net = NULL;
    expect(fastbp_net_create(&spec, &net) == FASTBP_OK, "a net");
    return net;
}

static fastbp_data data_of(int weighted) {
    fastbp_data data = {0};
    data.size = sizeof data;
    data.x = (fastbp_array){X, FASTBP_FLOAT64, 0, 2, 0, 4, 2, 16, 8, NULL, NULL, 0, 0};
    data.y = (fastbp_array){y, FASTBP_FLOAT64, 0, 1, 0, 4, 1, 8, 8, NULL, NULL, 0, 0};
    if (weighted) data.sample_weight = (fastbp_array){c, FASTBP_FLOAT64, 0, 1, 0, 4, 1, 8, 8, NULL, NULL, 0, 0};
    return data;
}

/* With what an earlier epoch might have left. */
static fastbp_epoch used_epoch(void) {
    fastbp_epoch epoch = {0};
    epoch.size = sizeof epoch;
    epoch.rule.size = sizeof epoch.rule;
    epoch.batch_size = 2;
    epoch.lr = lr;
    epoch.step = 5;
    epoch.loss_sum = epoch.weight_sum = 77;
    epoch.steps_done = 77;
    epoch.refused = FASTBP_REFUSED_LOSS;
    epoch.refused_layer = 77;
    return epoch;
}

static int is_empty(const fastbp_epoch* epoch) {
    return epoch->loss_sum == 0 && epoch->weight_sum == 0 && epoch->steps_done == 0 && epoch->step == 5 &&
           epoch->refused == FASTBP_REFUSED_NOTHING && epoch->refused_layer == -1;
}

/* An epoch that makes no step says so; a refused one too. */
static void empty_epochs(const fastbp_net* net) {
    fastbp_data data = data_of(1);
    fastbp_epoch epoch = used_epoch();
    data.order = masked;
    data.count = 0;
    expect(fastbp_run_epoch(net, params, &data, &epoch) == FASTBP_OK && is_empty(&epoch), "an epoch of no rows");
    data.count = 2;
    epoch = used_epoch();
    epoch.values = values;
    values[0] = 77;
    expect(fastbp_run_epoch(net, params, &data, &epoch) == FASTBP_OK && epoch.loss_sum == 0 && epoch.weight_sum == 0,
           "an epoch of rows of weight 0");
    expect(epoch.steps_done == 1 && epoch.step == 5 && values[0] == 0, "a mini-batch without a step");
    epoch = used_epoch();
    epoch.batch_size = 3;
    epoch.drop_last = 1;
    expect(fastbp_run_epoch(net, params, &data, &epoch) == FASTBP_OK && is_empty(&epoch), "no whole mini-batch");
    epoch = used_epoch();
    epoch.batch_size = 0;
    refused(fastbp_run_epoch(net, params, &data, &epoch), "batch_size is 0");
    expect(is_empty(&epoch), "the results of a refused epoch");
    epoch = used_epoch();
    refused(fastbp_run_epoch(NULL, params, &data, &epoch), "net is NULL");
    expect(is_empty(&epoch), "the results of an epoch without a net");
    epoch.step = INT64_MAX;
    data.order = NULL;
    refused(fastbp_run_epoch(net, params, &data, &epoch), "step is 9223372036854775807");
}

/* A mean over nothing. */
static void means(const fastbp_net* net) {
    fastbp_data data = data_of(1);
    fastbp_results results = {0};
    results.size = sizeof results;
    results.grad = grad;
    data.order = masked;
    data.count = 2;
    grad[0] = 77;
    refused(fastbp_evaluate(net, params, &data, &results), "sample_weight is 0 for every row of the order");
    data.count = 0;
    refused(fastbp_evaluate(net, params, &data, &results), "the order has 0 rows");
    fastbp_tangent tangent = {0};
    tangent.size = sizeof tangent;
    tangent.params_dot = lr;
    tangent.grad_dot = grad;
    refused(fastbp_push_forward(net, params, &data, &tangent), "the order has 0 rows");
    expect(grad[0] == 77, "a refused call has changed nothing");
    results.sum = 1;
    for (data.count = 0; data.count <= 2; ++data.count) {
        grad[0] = 77;
        expect(fastbp_evaluate(net, params, &data, &results) == FASTBP_OK && results.value == 0 && grad[0] == 0,
               "a sum over nothing");
    }
    data = data_of(1);
    results.sum = 0;
    c[2] = c[3] = 1e308;
    refused(fastbp_evaluate(net, params, &data, &results), "sample_weight sums to inf");
    c[2] = c[3] = 1e-310;
    refused(fastbp_evaluate(net, params, &data, &results), "expected a sum from");
    c[2] = 1;
    c[3] = 2;
}

static void limits(const fastbp_net* net) {
    const fastbp_data data = data_of(0);
    const double wrong[] = {-1, NAN};
    for (int k = 0; k < 2; ++k) {
        fastbp_results results = {0};
        results.size = sizeof results;
        results.grad = grad;
        results.max_example_norm = wrong[k];
        refused(fastbp_evaluate(net, params, &data, &results), "max_example_norm is ");
        fastbp_epoch epoch = used_epoch();
        epoch.max_example_norm = wrong[k];
        refused(fastbp_run_epoch(net, params, &data, &epoch), "max_example_norm is ");
        epoch.max_example_norm = 0;
        epoch.max_grad_norm = wrong[k];
        refused(fastbp_run_epoch(net, params, &data, &epoch), "max_grad_norm is ");
        epoch.max_grad_norm = 0;
        lr[1] = wrong[k];
        refused(fastbp_run_epoch(net, params, &data, &epoch), "lr[1] is ");
        lr[1] = 0.1;
        refused(fastbp_update(&epoch.rule, NULL, FASTBP_FLOAT64, 3, params, grad, NULL, wrong[k], 1), "lr[0] is ");
    }
    refused(fastbp_check(net, &data, 3), "targets is 3");
}

static fastbp_step_rule rule_of(int kind) {
    fastbp_step_rule rule = {0};
    rule.size = sizeof rule;
    rule.kind = kind;
    rule.beta1 = 0.9;
    rule.beta2 = rule.alpha = 0.99;
    rule.eps = 1e-8;
    rule.eta_minus = 0.5;
    rule.eta_plus = 1.2;
    rule.step_size_min = 1e-6;
    rule.step_size_max = 50;
    return rule;
}

/* `number` is one of the rule's. */
static void wrong_number(fastbp_step_rule* rule, double* number, double wrong, const char* name) {
    void* moments[3] = {values, X, y};
    const double before = *number;
    *number = wrong;
    refused(fastbp_update(rule, NULL, FASTBP_FLOAT64, 3, params, grad, moments, 0.1, 1), name);
    expect(fastbp_moment_count(rule) == -1, name);
    *number = before;
}

static void rules(void) {
    expect(fastbp_moment_count(NULL) == -1 && strstr(fastbp_last_error(), "rule is NULL") != NULL, "no rule");
    void* none[1] = {NULL};
    for (int kind = FASTBP_SGD; kind <= FASTBP_RPROP; ++kind) {
        fastbp_step_rule rule = rule_of(kind);
        expect(fastbp_moment_count(&rule) >= 0, "a rule");
        refused(fastbp_update(&rule, NULL, FASTBP_FLOAT64, 3, params, grad, none, 0.1, 0), "step is 0");
        const double wrong[] = {-0.5, NAN, INFINITY};
        for (int k = 0; k < 3; ++k) {
            if (kind == FASTBP_RPROP) {
                wrong_number(&rule, &rule.eta_minus, wrong[k], "eta_minus");
                wrong_number(&rule, &rule.eta_plus, wrong[k], "eta_plus");
                wrong_number(&rule, &rule.step_size_min, wrong[k], "step_size_min");
                if (k < 2) wrong_number(&rule, &rule.step_size_max, wrong[k], "step_size_max");
                continue;
            }
            wrong_number(&rule, &rule.weight_decay, wrong[k], "rule.weight_decay");
            if (kind == FASTBP_SGD) wrong_number(&rule, &rule.dampening, wrong[k], "rule.dampening");
            if (kind == FASTBP_SGD || kind == FASTBP_RMSPROP)
                wrong_number(&rule, &rule.momentum, wrong[k], "rule.momentum");
            if (kind != FASTBP_SGD) wrong_number(&rule, &rule.eps, wrong[k], "rule.eps");
            if (kind == FASTBP_ADAM || kind == FASTBP_ADAMW) {
                wrong_number(&rule, &rule.beta1, wrong[k], "rule.beta1");
                wrong_number(&rule, &rule.beta2, wrong[k], "rule.beta2");
            }
            if (kind == FASTBP_RMSPROP) wrong_number(&rule, &rule.alpha, wrong[k], "rule.alpha");
            if (kind == FASTBP_ADAGRAD) wrong_number(&rule, &rule.lr_decay, wrong[k], "rule.lr_decay");
        }
    }
    fastbp_step_rule rule = rule_of(FASTBP_SGD);
    rule.nesterov = 1;
    expect(fastbp_moment_count(&rule) == -1, "nesterov without momentum");
    rule = rule_of(FASTBP_ADAM);
    rule.beta1 = 1;
    expect(fastbp_moment_count(&rule) == -1, "a beta of 1");
}

/* Structs that end before the last field, as those of an older header do, or behind it, as those of a newer one. */
static void sizes(const fastbp_net* net) {
    char memory[sizeof(fastbp_results) + 16] = {0}, before[sizeof memory];
    const fastbp_data data = data_of(0);
    fastbp_results* results = (fastbp_results*)memory;
    results->size = offsetof(fastbp_results, loss);
    results->grad = grad;
    memset(memory + results->size, 77, sizeof memory - results->size);
    memcpy(before, memory, sizeof memory);
    expect(fastbp_evaluate(net, params, &data, results) == FASTBP_OK && results->value > 0, "shorter results");
    expect(results->size == offsetof(fastbp_results, loss), "the size of shorter results");
    expect(memcmp(memory + results->size, before + results->size, sizeof memory - results->size) == 0,
           "bytes behind shorter results");
    memset(memory, 0, sizeof memory);
    results->size = sizeof memory;
    results->grad = grad;
    expect(fastbp_evaluate(net, params, &data, results) == FASTBP_OK && results->loss > 0, "longer results");
    memory[sizeof memory - 1] = 1;
    refused(fastbp_evaluate(net, params, &data, results), "the header is newer than this library");
    const size_t wrong[] = {0, 1, sizeof(size_t), 5000, SIZE_MAX};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; ++k) {
        results->size = wrong[k];
        refused(fastbp_evaluate(net, params, &data, results), "results.size is ");
    }
    fastbp_epoch epoch = used_epoch();
    epoch.size = offsetof(fastbp_epoch, grad);
    expect(fastbp_run_epoch(net, params, &data, &epoch) == FASTBP_OK && epoch.steps_done == 2 && epoch.step == 7,
           "a shorter epoch");
    fastbp_config config = {0};
    config.size = offsetof(fastbp_config, blas);
    expect(fastbp_get_config(&config) == FASTBP_OK && config.isa != NULL && config.blas == NULL, "a shorter config");
    fastbp_data shorter = data_of(0);
    shorter.size = offsetof(fastbp_data, order);
    shorter.order = masked;
    shorter.count = 1;
    memset(memory, 0, sizeof memory);
    results->size = sizeof *results;
    results->example_loss = values;
    values[3] = 77;
    expect(fastbp_evaluate(net, params, &shorter, results) == FASTBP_OK && values[3] != 77, "shorter data");
}

static int look(void* context) {
    fastbp_epoch* epoch = context;
    static int64_t most = 0;
    if (epoch->steps_done > most) most = epoch->steps_done;
    return most > 0;
}

/* The poll finds the progress in the caller's struct, also in a shorter one. */
static void progress(const fastbp_net* net) {
    enum { STEPS = 2000000 };
    fastbp_data data = data_of(0);
    int64_t* order = malloc(STEPS * sizeof *order);
    double* rates = malloc(STEPS * sizeof *rates);
    for (int k = 0; k < STEPS; ++k) {
        order[k] = k % 4;
        rates[k] = 0;
    }
    fastbp_epoch epoch = used_epoch();
    epoch.size = offsetof(fastbp_epoch, grad);
    epoch.batch_size = 1;
    epoch.lr = rates;
    data.order = order;
    data.count = STEPS;
    data.poll = look;
    data.poll_context = &epoch;
    expect(fastbp_run_epoch(net, params, &data, &epoch) == FASTBP_INTERRUPTED && epoch.steps_done > 0, "progress");
    free(order);
    free(rates);
}

int main(void) {
    fastbp_net* net = make(FASTBP_SQUARED_ERROR);
    empty_epochs(net);
    means(net);
    limits(net);
    rules();
    sizes(net);
    progress(net);
    fastbp_net_destroy(net);
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
