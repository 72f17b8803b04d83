// _core.Net: each method turns arrays into views, releases the GIL, calls, and gives back.
#include "net.hpp"

#include <pybind11/stl.h>

#include <optional>

#include "addresses.hpp"
#include "arrays.hpp"
#include "batch.hpp"
#include "callbacks.hpp"
#include "fastbp/fastbp.hpp"
#include "gil.hpp"
#include "openmp.hpp"
#include "parameters.hpp"

namespace fastbp::python {
namespace {

using Sizes = std::initializer_list<py::ssize_t>;

struct NetDeleter {
    void operator()(fastbp_net* net) const { fastbp_net_destroy(net); }
};

class PyNet {
  public:
    PyNet(const std::vector<std::int64_t>& widths, const std::vector<std::int32_t>& activations,
          const std::vector<double>& activation_parameters, int loss,
          const std::optional<std::vector<double>>& loss_parameters, const std::vector<double>& dropout,
          py::dtype dtype, double l2, double l1, bool deterministic, const std::string& device, bool weights_by_outputs,
          int precision, const std::optional<OpenMP>& openmp)
        : openmp_(openmp), dtype_(std::move(dtype)), widths_(widths), place_(device) {
        fastbp_net_spec spec = {};
        spec.size = sizeof spec;
        spec.device = device.c_str();
        spec.type = dtype_.itemsize() == 4 ? FASTBP_FLOAT32 : FASTBP_FLOAT64;
        spec.layers = std::int32_t(activations.size());
        spec.widths = widths.data();
        spec.activations = activations.data();
        spec.activation_parameters = activation_parameters.data();
        spec.loss = loss;
        spec.loss_parameters = loss_parameters ? loss_parameters->data() : nullptr;
        spec.l2 = l2;
        spec.l1 = l1;
        spec.dropout = dropout.data();
        spec.deterministic = deterministic;
        spec.weights_by_outputs = weights_by_outputs;
        spec.precision = precision;
        if (openmp_) {
            spec.pool = &OpenMP::run;
            spec.pool_context = &*openmp_;
        }
        fastbp_net* net = nullptr;
        named("MLP", [&] { require(fastbp_net_create(&spec, &net)); });
        net_.reset(net);
    }

    std::int64_t parameter_count() const { return fastbp_parameter_count(net_.get()); }
    std::int64_t kept_size(std::int64_t n) const { return fastbp_kept_size(net_.get(), n); }

    py::object forward(py::handle params, py::handle X, py::handle out) const {
        return named("forward", [&] {
            Batch batch(place_, X);
            const Parameters p = parameters(params, batch);
            check_rows(batch);
            const Sizes shape{batch.data.x.rows, widths_.back()};
            const Output result = out.is_none() ? Output(place_, dtype_, shape)
                                                : Output(out, "out", place_, dtype_, shape, batch.extents(p));
            run(batch, py::none(),
                [&, to = result.data()] { return fastbp_forward(net_.get(), p.flat(), &batch.data, to, nullptr); });
            return result.given();
        });
    }

    // x(L), and what a later pull_back needs, which belongs to the caller.
    py::tuple forward_kept(py::handle params, py::handle X) const {
        return named("vjp", [&] {
            Batch batch(place_, X);
            const Parameters p = parameters(params, batch);
            check_rows(batch);
            const std::int64_t n = batch.data.x.rows;
            const Output result(place_, dtype_, Sizes{n, widths_.back()});
            const Output kept(place_, dtype_, Sizes{fastbp_kept_size(net_.get(), n)});
            run(batch, py::none(), [&, to = result.data(), keep = kept.data()] {
                return fastbp_forward(net_.get(), p.flat(), &batch.data, to, keep);
            });
            return py::make_tuple(result.given(), kept.given());
        });
    }

    py::tuple evaluate(const char* method, py::handle params, py::handle X, py::handle y, py::handle sample_weight,
                       py::handle reduction, const py::object& loss_function, py::handle out, bool wants_grad,
                       bool accumulate, double max_example_norm) const {
        return named(method, [&] {
            Batch batch(place_, X, y, sample_weight, !loss_function.is_none());
            const Parameters p = parameters(params, batch);
            fastbp_results results = results_for();
            results.sum = is_sum(reduction);
            results.accumulate = accumulate;
            results.max_example_norm = max_example_norm;
            std::optional<Output> grad;
            if (wants_grad) {
                const Sizes shape{parameter_count()};
                grad = out.is_none() ? Output(place_, dtype_, shape)
                                     : Output(out, "out", place_, dtype_, shape, batch.extents(p));
                results.grad = grad->data();
            }
            run(batch, loss_function, [&] { return fastbp_evaluate(net_.get(), p.flat(), &batch.data, &results); });
            return py::make_tuple(results.value, grad ? grad->given() : py::none());
        });
    }

    // Every quantity that `wanted` names, as new arrays in a dict.
    py::dict backward(py::handle params, py::handle X, py::handle y, py::handle sample_weight, py::handle reduction,
                      const py::object& loss_function, const std::vector<std::string>& wanted) const {
        return named("backward", [&] {
            Batch batch(place_, X, y, sample_weight, !loss_function.is_none());
            const Parameters p = parameters(params, batch);
            check_rows(batch);
            const std::int64_t n = batch.data.x.rows;
            fastbp_results results = results_for();
            results.sum = is_sum(reduction);
            py::dict arrays;
            std::vector<std::vector<void*>> lists;
            lists.reserve(3);
            const auto one = [&](const char* name, const py::dtype& dtype, Sizes shape) {
                const Output made(place_, dtype, shape);
                arrays[name] = made.given();
                return made.data();
            };
            const auto per_row = [&](const char* name) {
                return static_cast<double*>(one(name, py::dtype::of<double>(), {n}));
            };
            const auto per_layer = [&](const char* name) -> void* const* {
                py::list list;
                lists.emplace_back();
                for (std::size_t k = 1; k < widths_.size(); ++k) {
                    const Output made(place_, dtype_, Sizes{n, widths_[k]});
                    list.append(made.given());
                    lists.back().push_back(made.data());
                }
                arrays[name] = list;
                return lists.back().data();
            };
            for (const std::string& name : wanted) {
                if (name == "s") results.s = per_layer("s");
                if (name == "x") results.x = per_layer("x");
                if (name == "deltas") results.deltas = per_layer("deltas");
                if (name == "grad") results.grad = one("grad", dtype_, {parameter_count()});
                if (name == "input_grad") results.input_grad = one("input_grad", dtype_, {n, widths_.front()});
                if (name == "example_loss") results.example_loss = per_row("example_loss");
                if (name == "example_grad_norm") results.example_grad_norm = per_row("example_grad_norm");
            }
            run(batch, loss_function, [&] { return fastbp_evaluate(net_.get(), p.flat(), &batch.data, &results); });
            arrays["value"] = results.value;
            arrays["loss"] = results.loss;
            return arrays;
        });
    }

    // The gradient and the input gradient, each None where it is not wanted.
    py::tuple pull_back(py::handle params, py::handle X, py::handle kept, py::handle cotangent, bool wants_grad,
                        bool wants_input_grad) const {
        return named("pullback", [&] {
            Batch batch(place_, X);
            const Parameters p = parameters(params, batch);
            check_rows(batch);
            const Input c(cotangent, "cotangent", place_);
            fastbp_results results = results_for();
            py::object grad = py::none(), input_grad = py::none();
            const auto wanted = [&](py::object& to, Sizes shape) {
                const Output made(place_, dtype_, shape);
                to = made.given();
                return made.data();
            };
            if (wants_grad) results.grad = wanted(grad, {parameter_count()});
            if (wants_input_grad) results.input_grad = wanted(input_grad, {batch.data.x.rows, widths_.front()});
            run(batch, py::none(), [&, from = memory_of(kept)] {
                return fastbp_pull_back(net_.get(), p.flat(), &batch.data, from, &c.view(), &results);
            });
            return py::make_tuple(grad, input_grad);
        });
    }

    // forward_kept and pull_back on memory by address, of the net's type, row-major without gaps. 0, []: not wanted.
    void forward_at(const std::vector<Address>& params, Address X, std::int64_t n, Address out, Address kept) const {
        return named("forward", [&] {
            Batch batch(at(X, n, widths_.front()));
            const Parts p(params, widths_.size() - 1);
            p.attach(batch.data);
            run(batch, py::none(),
                [&] { return fastbp_forward(net_.get(), nullptr, &batch.data, pointer(out), pointer(kept)); });
        });
    }

    void pull_back_at(const std::vector<Address>& params, Address X, std::int64_t n, Address kept, Address cotangent,
                      const std::vector<Address>& grads, Address input_grad) const {
        return named("pullback", [&] {
            Batch batch(at(X, n, widths_.front()));
            const Parts p(params, widths_.size() - 1), to(grads, grads.empty() ? 0 : widths_.size() - 1);
            p.attach(batch.data);
            const fastbp_array c = at(cotangent, n, widths_.back());
            fastbp_results results = results_for();
            results.weight_grads = grads.empty() ? nullptr : to.weights.data();
            results.bias_grads = grads.empty() ? nullptr : to.biases.data();
            results.input_grad = pointer(input_grad);
            run(batch, py::none(), [&] {
                return fastbp_pull_back(net_.get(), nullptr, &batch.data, c.rows == 0 ? c.data : pointer(kept), &c,
                                        &results);
            });
        });
    }

    // Along `v` in the parameters and `u` in the inputs, None where that does not move: whichever of output_dot,
    // grad_dot and input_grad_dot is wanted, as new arrays in a dict, the first of them in `out` where that is given.
    // With a cotangent y is not looked at.
    py::dict push_forward(const char* method, py::handle params, py::handle X, py::handle y, py::handle sample_weight,
                          py::handle reduction, const py::object& loss_function, const std::optional<py::object>& v,
                          py::handle u, py::handle cotangent, bool gauss_newton, py::handle out,
                          const std::vector<std::string>& wanted) const {
        return named(method, [&] {
            Batch batch(place_, X, y, sample_weight, !loss_function.is_none());
            const Parameters p = parameters(params, batch);
            check_rows(batch);
            const Input x_dot(u, "u", place_, true), c(cotangent, "cotangent", place_, true);
            fastbp_tangent tangent = {};
            tangent.size = sizeof tangent;
            tangent.sum = is_sum(reduction);
            tangent.gauss_newton = gauss_newton;
            tangent.params_dot = v ? memory_of(*v) : nullptr;
            tangent.x_dot = x_dot.view();
            tangent.cotangent = c.view();
            py::dict arrays;
            std::vector<Output> outputs;
            std::vector<Extent> inputs = batch.extents(p);
            inputs.push_back(extent_of(x_dot, "u"));
            if (v) inputs.push_back(extent_of(*v, "v"));
            const auto one = [&](const char* name, Sizes shape) {
                const bool given = !out.is_none() && outputs.empty();
                outputs.push_back(given ? Output(out, "out", place_, dtype_, shape, inputs)
                                        : Output(place_, dtype_, shape));
                arrays[name] = outputs.back().given();
                return outputs.back().data();
            };
            const std::int64_t n = batch.data.x.rows;
            for (const std::string& name : wanted) {
                if (name == "output_dot") tangent.output_dot = one("output_dot", {n, widths_.back()});
                if (name == "grad_dot") tangent.grad_dot = one("grad_dot", {parameter_count()});
                if (name == "input_grad_dot") tangent.input_grad_dot = one("input_grad_dot", {n, widths_.front()});
            }
            run(batch, loss_function, [&] { return fastbp_push_forward(net_.get(), p.flat(), &batch.data, &tangent); });
            return arrays;
        });
    }

    void check(const char* method, py::handle X, py::handle y, py::handle sample_weight, bool sum,
               const py::object& loss_function) const {
        return named(method, [&] {
            Batch batch(place_, X, y, sample_weight, !loss_function.is_none());
            run(batch, loss_function,
                [&] { return fastbp_check(net_.get(), &batch.data, sum ? FASTBP_CHECK_SUM : FASTBP_CHECK_MEAN); });
        });
    }

    // report (6,): loss_sum, weight_sum, steps_done, step, refused, refused_layer; filled in also where the epoch ends
    // early.
    void run_epoch(const char* method, py::handle params, py::handle X, py::handle y, py::handle sample_weight,
                   const py::object& loss_function,
                   const std::optional<py::array_t<std::int64_t, py::array::c_style>>& order,
                   const fastbp_step_rule& rule, const std::vector<py::object>& moments, std::int64_t batch_size,
                   bool drop_last, const py::array_t<double, py::array::c_style>& lr, std::int64_t step,
                   py::array_t<double, py::array::c_style> report, double max_grad_norm, double max_example_norm,
                   const py::object& grad_hook, std::uint64_t seed, const py::object& progress,
                   bool penalties_by_weight, std::optional<py::array_t<double, py::array::c_style>> values) const {
        return named(method, [&] {
            Batch batch(place_, X, y, sample_weight, !loss_function.is_none());
            batch.data.order = order ? order->data() : nullptr;
            batch.data.count = order ? order->size() : 0;
            std::vector<void*> pointers;
            for (const py::object& moment : moments) pointers.push_back(memory_of(moment));
            fastbp_epoch epoch = {};
            epoch.size = sizeof epoch;
            epoch.rule = rule;
            epoch.moments = pointers.data();
            epoch.batch_size = batch_size;
            epoch.drop_last = drop_last;
            epoch.lr = lr.data();
            epoch.step = step;
            epoch.max_grad_norm = max_grad_norm;
            epoch.max_example_norm = max_example_norm;
            epoch.penalties_by_weight = penalties_by_weight;
            epoch.values = values ? values->mutable_data() : nullptr;
            epoch.seed = seed;
            double* out = report.mutable_data();
            void* p = memory_of(params);
            Callbacks callbacks(loss_function, place_, dtype_, widths_.back(), grad_hook, progress);
            if (grad_hook.is_none())
                callbacks.attach(epoch);
            else
                callbacks.attach(epoch, Output(place_, dtype_, Sizes{parameter_count()}).given());
            run(batch, callbacks, [&] {
                const fastbp_status status = fastbp_run_epoch(net_.get(), p, &batch.data, &epoch);
                out[0] = epoch.loss_sum;
                out[1] = epoch.weight_sum;
                out[2] = double(epoch.steps_done);
                out[3] = double(epoch.step);
                out[4] = double(epoch.refused);
                out[5] = double(epoch.refused_layer);
                return status;
            });
        });
    }

  private:
    Parameters parameters(py::handle given, Batch& batch) const {
        Parameters found(given, place_, dtype_, widths_);
        found.attach(batch.data);
        return found;
    }

    fastbp_array at(Address address, std::int64_t n, std::int64_t columns) const {
        const int type = dtype_.itemsize() == 4 ? FASTBP_FLOAT32 : FASTBP_FLOAT64;
        return matrix_at(address, n, columns, type, place_.distant());
    }

    // Before results of X's size are allocated.
    void check_rows(const Batch& batch) const { require(fastbp_check(net_.get(), &batch.data, FASTBP_CHECK_ROWS)); }

    // Calls the core without the GIL, with callbacks attached. A Python exception of a callback goes before the core's.
    template <class Call>
    void run(Batch& batch, const py::object& loss_function, Call call) const {
        Callbacks callbacks(loss_function, place_, dtype_, widths_.back());
        run(batch, callbacks, call);
    }

    template <class Call>
    void run(Batch& batch, Callbacks& callbacks, Call call) const {
        callbacks.attach(batch.data);
        fastbp_status status;
        {
            const ReleasedGil released;
            status = call();
        }
        callbacks.rethrow();
        require(status);
    }

    std::optional<OpenMP> openmp_;  // the net knows its address
    std::unique_ptr<fastbp_net, NetDeleter> net_;
    py::dtype dtype_;
    std::vector<std::int64_t> widths_;
    Place place_;
};

}  // namespace

void register_net(py::module_& m) {
    py::class_<OpenMP>(m, "OpenMP", "A loaded OpenMP runtime, by the addresses of three functions.")
        .def(py::init(&OpenMP::at), py::arg("parallel"), py::arg("thread_num"), py::arg("num_threads"));
    py::class_<PyNet>(m, "Net", "A network's description, ready to run. It holds no parameters.")
        .def(py::init<const std::vector<std::int64_t>&, const std::vector<std::int32_t>&, const std::vector<double>&,
                      int, const std::optional<std::vector<double>>&, const std::vector<double>&, py::dtype, double,
                      double, bool, const std::string&, bool, int, const std::optional<OpenMP>&>(),
             py::arg("widths"), py::arg("activations"), py::arg("activation_parameters"), py::arg("loss"),
             py::arg("loss_parameters"), py::arg("dropout"), py::arg("dtype"), py::arg("l2"), py::arg("l1"),
             py::arg("deterministic"), py::arg("device"), py::arg("weights_by_outputs") = false,
             py::arg("precision") = 0, py::arg("openmp") = py::none())
        .def_property_readonly("parameter_count", &PyNet::parameter_count)
        .def("kept_size", &PyNet::kept_size, py::arg("n"))
        .def("forward", &PyNet::forward, py::arg("params"), py::arg("X"), py::arg("out"))
        .def("forward_kept", &PyNet::forward_kept, py::arg("params"), py::arg("X"))
        .def("evaluate", &PyNet::evaluate, py::arg("method"), py::arg("params"), py::arg("X"), py::arg("y"),
             py::arg("sample_weight"), py::arg("reduction"), py::arg("loss_function"), py::arg("out"),
             py::arg("wants_grad"), py::arg("accumulate"), py::arg("max_example_norm"))
        .def("backward", &PyNet::backward, py::arg("params"), py::arg("X"), py::arg("y"), py::arg("sample_weight"),
             py::arg("reduction"), py::arg("loss_function"), py::arg("wanted"))
        .def("pull_back", &PyNet::pull_back, py::arg("params"), py::arg("X"), py::arg("kept"), py::arg("cotangent"),
             py::arg("wants_grad") = true, py::arg("wants_input_grad") = true)
        .def("forward_at", &PyNet::forward_at, py::arg("params"), py::arg("X"), py::arg("n"), py::arg("out"),
             py::arg("kept"))
        .def("pull_back_at", &PyNet::pull_back_at, py::arg("params"), py::arg("X"), py::arg("n"), py::arg("kept"),
             py::arg("cotangent"), py::arg("grads"), py::arg("input_grad"))
        .def("push_forward", &PyNet::push_forward, py::arg("method"), py::arg("params"), py::arg("X"), py::arg("y"),
             py::arg("sample_weight"), py::arg("reduction"), py::arg("loss_function"), py::arg("v"), py::arg("u"),
             py::arg("cotangent"), py::arg("gauss_newton"), py::arg("out"), py::arg("wanted"))
        .def("check", &PyNet::check, py::arg("method"), py::arg("X"), py::arg("y"), py::arg("sample_weight"),
             py::arg("sum"), py::arg("loss_function"))
        .def("run_epoch", &PyNet::run_epoch, py::arg("method"), py::arg("params"), py::arg("X"), py::arg("y"),
             py::arg("sample_weight"), py::arg("loss_function"), py::arg("order"), py::arg("rule"), py::arg("moments"),
             py::arg("batch_size"), py::arg("drop_last"), py::arg("lr"), py::arg("step"), py::arg("report"),
             py::arg("max_grad_norm"), py::arg("max_example_norm"), py::arg("grad_hook"), py::arg("seed"),
             py::arg("progress"), py::arg("penalties_by_weight"), py::arg("values"));
}

}  // namespace fastbp::python
