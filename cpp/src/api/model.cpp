// From a spec to a model: every field is looked at here, once.
#include <cmath>
#include <limits>
#include <sstream>

#include "api/net.hpp"
#include "backend/make_backend.hpp"
#include "seam/error.hpp"

namespace fastbp {
namespace {

template <class... Part>
[[noreturn]] void refuse(const Part&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(ErrorKind::value, text.str());
}

double default_parameter(Activation g) {
    if (g == Activation::leaky_relu) return 0.01;
    return g == Activation::elu ? 1.0 : 0.0;
}

void check_activation(const LayerShape& layer, std::size_t k, bool last) {
    if (layer.g < Activation::identity || layer.g > Activation::softmax)
        refuse("activations[", k, "] is ", int(layer.g), ", which is none of the activations");
    if (!last && (layer.g == Activation::softmax || layer.g == Activation::exp))
        refuse("activations[", k, "] is for the output only");
    if (layer.g == Activation::leaky_relu && !(layer.a >= 0 && std::isfinite(layer.a)))
        refuse("the parameter of leaky_relu is ", layer.a, ", expected a finite number >= 0");
    if (layer.g == Activation::elu && !(layer.a > 0 && std::isfinite(layer.a)))
        refuse("the parameter of elu is ", layer.a, ", expected a finite number > 0");
    if (layer.g == Activation::softmax && layer.outputs == 1)
        refuse("softmax of one output is always 1; use logistic with one output, or softmax with two");
}

void check_loss(const Model& model) {
    const Activation g = model.output_activation();
    if (model.loss < Loss::none || model.loss > Loss::pinball)
        refuse("loss is ", int(model.loss), ", which is none of the losses");
    if (model.loss == Loss::cross_entropy && g != Activation::softmax && g != Activation::logistic)
        refuse("cross_entropy takes softmax or logistic as output_activation, and nothing else");
    const bool has_parameter = model.loss == Loss::huber || model.loss == Loss::pinball;
    if (has_parameter && model.loss_parameter.empty()) refuse("this loss needs a parameter for each output");
    for (const double p : model.loss_parameter) {
        if (model.loss == Loss::huber && !(p > 0 && std::isfinite(p)))
            refuse("huber's delta is ", p, ", expected a finite number > 0");
        if (model.loss == Loss::pinball && !(p > 0 && p < 1))
            refuse("pinball's quantile is ", p, ", expected a number between 0 and 1");
    }
}

// Numbers of this many bytes must be countable, with room for a own of many gradients.
void count_parameters(Model& model) {
    constexpr Index most = std::numeric_limits<Index>::max() / 4096;
    Index sum = 0;
    for (LayerShape& layer : model.layers) {
        Index size = 0;
        if (__builtin_mul_overflow(layer.inputs, layer.outputs, &size) || size > most ||
            sum > most - size - layer.outputs)
            refuse("layer_sizes give more parameters than can be addressed");
        layer.first_w = sum;
        layer.first_b = sum + size;
        sum += size + layer.outputs;
    }
    model.parameter_count = sum;
}

}  // namespace

Precision precision_of(const fastbp_net_spec& spec) {
    const std::string device = device_of(spec);
    if (spec.precision < FASTBP_FULL_PRECISION || spec.precision > FASTBP_BF16)
        refuse("precision is ", spec.precision, ", which is none of the precisions");
    if (spec.precision != FASTBP_FULL_PRECISION && !is_distant(device))
        refuse("precision is for device 'cuda' only, this net is on '", device, "'");
    if (spec.precision != FASTBP_FULL_PRECISION && spec.type != FASTBP_FLOAT32)
        refuse("precision is for float32 only, this net is float64");
    return Precision(spec.precision);
}

Model make_model(const fastbp_net_spec& spec) {
    if (spec.widths == nullptr || spec.activations == nullptr || spec.layers < 1)
        refuse("layer_sizes needs at least an input and an output width");
    Model model;
    for (std::int32_t k = 0; k <= spec.layers; ++k)
        if (spec.widths[k] < 1 || spec.widths[k] > std::numeric_limits<std::int32_t>::max())
            refuse("layer_sizes[", k, "] is ", spec.widths[k], ", expected a width from 1 to 2147483647");
    for (std::int32_t k = 0; k < spec.layers; ++k) {
        const Activation g = Activation(spec.activations[k]);
        const double a = spec.activation_parameters != nullptr ? spec.activation_parameters[k] : default_parameter(g);
        const double dropout = spec.dropout != nullptr ? spec.dropout[k] : 0.0;
        if (!(dropout >= 0 && dropout < 1) || (k + 1 == spec.layers && dropout != 0))
            refuse("dropout is ", dropout, " in layer ", k + 1,
                   ", expected from 0 to below 1, and 0 in the last layer");
        model.layers.push_back({spec.widths[k], spec.widths[k + 1], g, a, 0, 0, dropout});
        check_activation(model.layers.back(), std::size_t(k), k + 1 == spec.layers);
    }
    count_parameters(model);
    model.loss = Loss(spec.loss);
    if (spec.loss_parameters != nullptr && (model.loss == Loss::huber || model.loss == Loss::pinball))
        model.loss_parameter.assign(spec.loss_parameters, spec.loss_parameters + model.outputs());
    check_loss(model);
    if (!(spec.l2 >= 0 && std::isfinite(spec.l2))) refuse("l2 is ", spec.l2, ", expected a finite number >= 0");
    if (!(spec.l1 >= 0 && std::isfinite(spec.l1))) refuse("l1 is ", spec.l1, ", expected a finite number >= 0");
    model.l2 = spec.l2;
    model.l1 = spec.l1;
    model.weights_by_outputs = spec.weights_by_outputs != 0;
    model.deterministic = spec.deterministic != 0;
    model.on_device = is_distant(device_of(spec));
    return model;
}

}  // namespace fastbp
