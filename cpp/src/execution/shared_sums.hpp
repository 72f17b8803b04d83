// Memory in which a team adds up the results of its blocks: numbers for sums of losses and norms, and matrices for a
// product that is cut along its inner dimension.
//
// There are two halves of each. Members write one half between two barriers and read it after the second. The next
// barrier makes sure that all have read, so consecutive phases of the barrier use the halves in turn.
#pragma once

#include "execution/plan.hpp"
#include "seam/views.hpp"

namespace fastbp {

template <class Real>
class SharedSums {
  public:
    // `numbers`: 4 * plan.parts. `products`: 2 * products_size(plan, ..).
    SharedSums(const Plan& plan, double* numbers, Real* products, Index products_size)
        : parts_(plan.parts), numbers_(numbers), products_(products), products_size_(products_size) {}

    // The size of the products of all blocks but the first, in a layer of so many outputs.
    static Index products_size(const Plan& plan, Index outputs) { return (plan.parts - 1) * plan.tile * outputs; }

    // The two numbers of a block, in the half of a phase.
    double* numbers(unsigned phase, int block) const { return numbers_ + 2 * (int(phase % 2) * parts_ + block); }
    // The product of block 1, 2, ..
    Matrix<Real> product(unsigned phase, int block, Index rows, Index cols) const {
        return dense(products_ + (phase % 2) * products_size_ + (block - 1) * rows * cols, rows, cols);
    }

  private:
    int parts_;
    double* numbers_;
    Real* products_;
    Index products_size_;
};

}  // namespace fastbp
