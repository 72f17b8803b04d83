// A backend that traces: shows which operations a pass is made of, and that nothing is allocated or thrown in one.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"
#include "backend/make_backend.hpp"
#include "example.hpp"
#include "execution/run_job.hpp"
#include "model_of.hpp"

// Every allocation of this program is counted.
namespace {
std::size_t allocations = 0;
}
void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes)) return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    ++allocations;
    const auto step = std::size_t(alignment);
    return std::aligned_alloc(step, (bytes + step - 1) / step * step);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

namespace fastbp::test {
namespace {

using Real = double;
using B = Backend<Real>;

static_assert(noexcept(std::declval<B&>().gemm(1, {}, {}, 0, {})), "operations throw nothing");
static_assert(noexcept(forward<Real>(std::declval<B&>(), {}, std::declval<const Pass<Real>&>())), "nor does a pass");
static_assert(noexcept(backpropagate<Real>(std::declval<B&>(), {}, std::declval<const Pass<Real>&>(), {})),
              "either way");

// Writes a letter for each operation and hands it on.
class Trace final : public B {
  public:
    explicit Trace(B& on) : on_(on) { log_.reserve(4096); }
    const std::string& log() const { return log_; }
    void clear() { log_.clear(); }

    void* allocate(std::size_t bytes) noexcept override { return note('!'), on_.allocate(bytes); }
    void release(void* memory) noexcept override { note('!'), on_.release(memory); }
    void upload(const void* from, void* to, std::size_t n) noexcept override { note('u'), on_.upload(from, to, n); }
    void download(const void* from, void* to, std::size_t n) noexcept override { note('d'), on_.download(from, to, n); }
    void copy_bytes(const void* from, void* to, std::size_t n) noexcept override {
        note('b'), on_.copy_bytes(from, to, n);
    }
    void count_misfits(const RowSource& s, const NumberRule& rule, Index* misfits) noexcept override {
        note('?'), on_.count_misfits(s, rule, misfits);
    }
    void sum_weights(const RowSource& c, RowRange r, Index batch, double* sums) noexcept override {
        note('?'), on_.sum_weights(c, r, batch, sums);
    }
    void load_rows(const RowSource& s, RowRange r, Out t) noexcept override { note('l'), on_.load_rows(s, r, t); }
    void load_weights(const RowSource& s, RowRange r, Matrix<double> t) noexcept override {
        note('l'), on_.load_weights(s, r, t);
    }
    void load_csr(const RowSource& s, RowRange r, CsrTile<Real> t) noexcept override {
        note('l'), on_.load_csr(s, r, t);
    }
    void load_classes(const RowSource& s, RowRange r, Vector<std::int32_t> t) noexcept override {
        note('l'), on_.load_classes(s, r, t);
    }
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override { note('0'), on_.clear_masked_rows(c, m); }
    void clear_masked_csr(Matrix<const double> c, CsrTile<Real> t) noexcept override {
        note('0'), on_.clear_masked_csr(c, t);
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        note('0'), on_.clear_masked_outputs(c, m);
    }
    void barrier_wait() noexcept override { note('|'), on_.barrier_wait(); }
    const char* name() const noexcept override { return "trace"; }
    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override { note('g'), on_.gemm(alpha, a, b, beta, c); }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        note('s'), on_.sparse_gemm(alpha, a, b, beta, c);
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        note('s'), on_.sparse_gemm_transposed(alpha, a, b, beta, c);
    }
    void activate(G g, VectorIn b, Out s, Out x) noexcept override { note('a'), on_.activate(g, b, s, x); }
    void multiply_by_derivative(G g, In s, In x, Out d) noexcept override {
        note('m'), on_.multiply_by_derivative(g, s, x, d);
    }
    void output_delta(const LossFunction<Real>& loss, G g, In s, In x, const Target<Real>& y, Out d,
                      LossSlots o) noexcept override {
        note('o'), on_.output_delta(loss, g, s, x, y, d, o);
    }
    void drop(const Dropout& d, In from, Out to) noexcept override { note('D'), on_.drop(d, from, to); }
    void activate_tangent(G g, In s, In x, In sd, Out xd) noexcept override {
        note('t'), on_.activate_tangent(g, s, x, sd, xd);
    }
    void derivative_tangent(G g, In s, In x, In sd, In u, Out dd) noexcept override {
        note('t'), on_.derivative_tangent(g, s, x, sd, u, dd);
    }
    void output_delta_tangent(const LossFunction<Real>& loss, G g, In s, In x, const Target<Real>& y, In sd, Out dd,
                              Curvature which) noexcept override {
        note('t'), on_.output_delta_tangent(loss, g, s, x, y, sd, dd, which);
    }
    void column_sums(Real alpha, In d, Real beta, VectorOut b) noexcept override {
        note('c'), on_.column_sums(alpha, d, beta, b);
    }
    void gradient_squares(const Input<Real>& x, In d, bool add, Vector<double> out) noexcept override {
        note('q'), on_.gradient_squares(x, d, add, out);
    }
    void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                       Vector<double> norm, Vector<double> factor) noexcept override {
        note('q'), on_.example_norms(squares, c, scale, limit, norm, factor);
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override { note('f'), on_.scale_rows(factor, m); }
    void copy(In from, Out to) noexcept override { note('y'), on_.copy(from, to); }
    void add(In from, Out to) noexcept override { note('+'), on_.add(from, to); }
    void reduce(Partials p, Real beta, VectorOut out) noexcept override { note('r'), on_.reduce(p, beta, out); }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut g) noexcept override {
        note('p'), on_.add_penalty(l2, l1, w, g);
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        note('q'), on_.sum_of_squares(w, largest, out);
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override { note('q'), on_.sum_of_magnitudes(w, out); }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        note('k'), on_.clip_factor(squares, largest, limit, factor);
    }
    void largest_magnitude(In m, double* out) noexcept override { note('m'), on_.largest_magnitude(m, out); }
    void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) noexcept override {
        note('m'), on_.largest_magnitudes(pass, out);
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override {
        note('m'), on_.find_larger(v, limit, place);
    }
    void clear(double* slot) noexcept override { note('z'), on_.clear(slot); }
    void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                       StepScalars* now) noexcept override {
        note('n'), on_.note_gradient(gradient, place, entry, ledger, now);
    }
    void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) noexcept override {
        note('n'), on_.note_loss(parts, entry, ledger, now);
    }
    void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                      Ledger* ledger) noexcept override {
        note('n'), on_.note_penalty(squares, magnitudes, l2, l1, entry, ledger);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials g, VectorOut p,
                std::span<const VectorOut> m) noexcept override {
        note('x'), on_.update(rule, now, g, p, m);
    }
    bool try_fused_pass(Network<Real>, const Pass<Real>&, const LossFunction<Real>&, const Target<Real>&, double*,
                        Sink<Real>) noexcept override {
        return note('w'), false;
    }

  private:
    void note(char letter) { log_ += letter; }
    B& on_;
    std::string log_;
};

void expect(bool right, const char* what, const std::string& found) {
    if (right) return;
    std::fprintf(stderr, "failed: %s; found %s\n", what, found.c_str());
    std::exit(1);
}

int run() {
    const Example example(40);
    const Net<double> handle = example.net();
    const Model model = model_of(example);
    const auto one = make_backend<Real>("cpu");
    Trace on(*one);
    const Plan plan = make_plan(model, {example.rows, sizeof(Real)});
    TeamScratch<Real> scratch(on, model, plan, {});
    Barrier barrier(1);
    const Member alone{0, barrier};
    std::vector<Real> grad(std::size_t(model.parameter_count));
    const Job<Real> job = gradient_job(example, model, grad.data());
    prepare(on, alone, scratch, job);
    bool done = run_job(on, alone, plan, scratch, job);  // BLAS sets up its own memory at the first call
    on.clear();
    const std::size_t before = allocations;
    done = run_job(on, alone, plan, scratch, job) && done;
    const double loss = total_loss(scratch, plan);
    const std::size_t allocated = allocations - before;
    // The sum of losses begins at 0; the classes; no fused pass; forward: three layers; the output delta; two
    // propagations; three gradients; the end of the tile.
    expect(on.log() ==
               "z"
               "l"
               "w"
               "gagaga"
               "o"
               "gmgm"
               "gcgcgc"
               "|",
           "a pass is these operations and no others", on.log());
    expect(done, "a pass is carried out", "a stop");
    expect(allocated == 0, "a pass allocates nothing", std::to_string(allocated));
    std::vector<Real> expected(grad.size());
    const double value = handle.value_and_grad(example.params.data(), example.x(), example.classes(), expected.data());
    expect(value == loss && expected == grad, "and gives the gradient", std::to_string(loss));
    std::puts("trace: ok");
    return 0;
}

}  // namespace
}  // namespace fastbp::test

int main() { return fastbp::test::run(); }
