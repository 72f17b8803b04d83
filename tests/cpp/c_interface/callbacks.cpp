// Callbacks that throw, that end their thread or that call fastbp again: the call ends with a status, nothing it must
// keep is changed, no member of a team waits for ever, and the next call works.
#include <fastbp/fastbp.h>
#include <pthread.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::int64_t n = 512, inputs = 96, hidden = 256, outputs = 3;
int failures = 0;

void expect(bool right, const std::string& what) {
    if (right) return;
    std::printf("%s: '%s'\n", what.c_str(), fastbp_last_error());
    ++failures;
}

void throw_something() {
    static int times = 0;
    if (++times % 2 == 0) throw 7;
    throw std::runtime_error("thrown by a callback");
}

struct Scene {
    fastbp_net* net = nullptr;
    std::vector<double> X, y, params, grad, expected;
    std::vector<std::int64_t> order;
    std::vector<double> lr;

    explicit Scene(fastbp_pool pool = nullptr) {
        const std::int64_t widths[] = {inputs, hidden, outputs};
        const std::int32_t g[] = {FASTBP_TANH, FASTBP_IDENTITY};
        fastbp_net_spec spec = {};
        spec.size = sizeof spec;
        spec.type = FASTBP_FLOAT64;
        spec.layers = 2;
        spec.widths = widths;
        spec.activations = g;
        spec.loss = FASTBP_SQUARED_ERROR;
        spec.pool = pool;
        expect(fastbp_net_create(&spec, &net) == FASTBP_OK, "a net");
        for (std::int64_t i = 0; i < n * inputs; ++i) X.push_back(std::sin(1.0 + double(i)));
        for (std::int64_t i = 0; i < n * outputs; ++i) y.push_back(std::cos(1.0 + double(i)));
        for (std::int64_t i = 0; i < fastbp_parameter_count(net); ++i) params.push_back(0.1 * std::sin(double(i)));
        grad.assign(params.size(), 7.0);
        for (std::int64_t i = 0; i < 500 * n; ++i) order.push_back(i % n);
        lr.assign(order.size(), 1e-9);
    }
    ~Scene() { fastbp_net_destroy(net); }
    Scene(const Scene&) = delete;

    fastbp_data data() const {
        fastbp_data data = {};
        data.size = sizeof data;
        data.x = {
            const_cast<double*>(X.data()), FASTBP_FLOAT64, 0, 2, 0, n, inputs, inputs * 8, 8, nullptr, nullptr, 0, 0};
        data.y = {
            const_cast<double*>(y.data()), FASTBP_FLOAT64, 0, 2, 0, n, outputs, outputs * 8, 8, nullptr, nullptr, 0, 0};
        return data;
    }
    fastbp_epoch epoch() const {
        fastbp_epoch epoch = {};
        epoch.size = sizeof epoch;
        epoch.rule.size = sizeof epoch.rule;
        epoch.batch_size = n;
        epoch.lr = lr.data();
        return epoch;
    }
    fastbp_status evaluate(const fastbp_data& given, double* into) const {
        fastbp_results results = {};
        results.size = sizeof results;
        results.grad = into;
        return fastbp_evaluate(net, params.data(), &given, &results);
    }
    // The net still works, and gives the same bits each time.
    void still_works(const char* after) {
        std::vector<double> found(params.size());
        expect(evaluate(data(), found.data()) == FASTBP_OK, std::string("a gradient after ") + after);
        if (expected.empty()) expected = found;
        expect(found == expected, std::string("the same gradient after ") + after);
    }
};

void thrown_by_a_loss_function() {
    Scene scene;
    scene.still_works("nothing");
    for (int time = 0; time < 2; ++time) {
        fastbp_data data = scene.data();
        data.loss_function = [](void*, const std::int64_t*, std::int64_t, std::int64_t, const void*, double*, void*) {
            throw_something();
            return 0;
        };
        expect(scene.evaluate(data, scene.grad.data()) == FASTBP_INTERRUPTED, "a loss function that throws");
        expect(std::strcmp(fastbp_last_error(), "a callback failed") == 0, "its text");
        expect(scene.grad == std::vector<double>(scene.params.size(), 7.0), "the gradient after a thrown exception");
        scene.still_works("a loss function that throws");
    }
}

void thrown_by_a_hook_or_a_poll() {
    Scene scene;
    scene.still_works("nothing");
    for (int time = 0; time < 4; ++time) {
        fastbp_data data = scene.data();
        fastbp_epoch epoch = scene.epoch();
        const std::vector<double> before = scene.params;
        if (time < 2)
            epoch.grad_hook = [](void*, std::int32_t, void*, std::int64_t) {
                throw_something();
                return 0;
            };
        else
            data.poll = [](void*) {
                throw_something();
                return 0;
            };
        data.order = scene.order.data();
        data.count = std::int64_t(scene.order.size());
        const fastbp_status status = fastbp_run_epoch(scene.net, scene.params.data(), &data, &epoch);
        expect(status == FASTBP_INTERRUPTED, time < 2 ? "a hook that throws" : "a poll that throws");
        expect(time >= 2 || (scene.params == before && epoch.steps_done == 0), "no step after a hook that throws");
        scene.params = before;
        scene.still_works("a hook or a poll that throws");
    }
}

// The hook of another epoch computes with the same net and with other threads.
void calls_from_callbacks() {
    Scene scene;
    scene.still_works("nothing");
    fastbp_data data = scene.data();
    fastbp_epoch epoch = scene.epoch();
    epoch.hook_context = &scene;
    epoch.grad_hook = [](void* context, std::int32_t, void*, std::int64_t) {
        Scene& own = *static_cast<Scene*>(context);
        own.still_works("a call from a hook");
        std::thread([&] { own.still_works("a call from a thread of a hook"); }).join();
        return 0;
    };
    const std::vector<double> before = scene.params;
    std::vector<double> trained = scene.params;
    expect(fastbp_run_epoch(scene.net, trained.data(), &data, &epoch) == FASTBP_OK, "an epoch whose hook calls fastbp");
    expect(epoch.steps_done == 1 && trained != before, "the step of that epoch");
}

// The gradient of each step stays where the caller wants it.
void gradients_in_the_callers_memory() {
    Scene scene;
    std::vector<double> kept(scene.params.size(), 7.0), trained = scene.params;
    scene.still_works("nothing");
    fastbp_data data = scene.data();
    fastbp_epoch epoch = scene.epoch();
    epoch.grad = kept.data();
    struct Seen {
        double* begin;
        std::int64_t count = 0;
        bool inside = true;
    } seen{kept.data()};
    epoch.hook_context = &seen;
    epoch.grad_hook = [](void* context, std::int32_t layer, void* grad, std::int64_t count) {
        Seen& own = *static_cast<Seen*>(context);
        own.count += count;
        own.inside = own.inside && grad == own.begin + (layer == 0 ? 0 : (inputs + 1) * hidden);
        return 0;
    };
    expect(fastbp_run_epoch(scene.net, trained.data(), &data, &epoch) == FASTBP_OK, "an epoch with a gradient");
    expect(seen.inside && seen.count == std::int64_t(kept.size()), "the places of the gradient");
    double worst = 0;
    for (std::size_t i = 0; i < kept.size(); ++i) worst = std::fmax(worst, std::abs(kept[i] - scene.expected[i]));
    expect(worst < 1e-12, "the gradient that is kept");
}

// A thread that is cancelled ends behind the call, not within.
void cancelled_in_a_callback() {
    Scene scene;
    struct Shared {
        Scene& scene;
        fastbp_status status = FASTBP_RUNTIME_ERROR;
    } shared{scene};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void* context) -> void* {
            Shared& own = *static_cast<Shared*>(context);
            fastbp_data data = own.scene.data();
            fastbp_epoch epoch = own.scene.epoch();
            epoch.grad_hook = [](void*, std::int32_t, void*, std::int64_t) {
                pthread_cancel(pthread_self());
                pthread_testcancel();
                return 0;
            };
            own.status = fastbp_run_epoch(own.scene.net, own.scene.params.data(), &data, &epoch);
            pthread_testcancel();
            own.status = FASTBP_RUNTIME_ERROR;
            return nullptr;
        },
        &shared);
    void* result = nullptr;
    pthread_join(thread, &result);
    expect(result == PTHREAD_CANCELED && shared.status == FASTBP_OK, "a cancelled thread");
    scene.expected.clear();
    scene.still_works("a cancellation");
}

// Pools that throw before, after and in the middle of their work.
void pools_that_throw() {
    const fastbp_pool pools[] = {[](void*, fastbp_take, void*) { throw_something(); },
                                 [](void*, fastbp_take take, void* job) {
                                     take(job, 0, 1);
                                     throw_something();
                                 },
                                 [](void*, fastbp_take take, void* job) {
                                     std::thread other(take, job, 1, 2);
                                     take(job, 0, 2);
                                     other.detach();
                                     throw_something();
                                 },
                                 [](void*, fastbp_take take, void* job) {
                                     std::thread(take, job, 1, 2).detach();
                                     std::this_thread::sleep_for(std::chrono::milliseconds(20));
                                     throw_something();
                                 }};
    for (const fastbp_pool pool : pools) {
        Scene scene(pool);
        expect(scene.evaluate(scene.data(), scene.grad.data()) == FASTBP_RUNTIME_ERROR, "a pool that throws");
        expect(std::strstr(fastbp_last_error(), "pool threw an exception") != nullptr, "its text");
    }
}

}  // namespace

int main(int count, char**) {
    thrown_by_a_loss_function();
    thrown_by_a_hook_or_a_poll();
    calls_from_callbacks();
    gradients_in_the_callers_memory();
    cancelled_in_a_callback();
    if (count > 1) pools_that_throw();  // where a team is certain
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
