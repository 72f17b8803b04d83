// Where a team adds up what its blocks give: numbers for sums of losses and norms, and matrices for a product that is
// cut along its inner dimension. Each is there twice and used in turn: between two uses of the same half lies the
// meeting of the other, so nobody still reads what is written next.
#pragma once

#include "execution/plan.hpp"
#include "seam/views.hpp"

namespace fastbp {

// A member's view of its team's memory. Every member takes the same turns.
template <class Real>
class SharedSums {
  public:
    // `numbers`: 4 * plan.parts. `products`: 2 * products_size(plan, ..).
    SharedSums(const Plan& plan, double* numbers, Real* products, Index products_size)
        : parts_(plan.parts), numbers_(numbers), products_(products), products_size_(products_size) {}

    // Of the products of all blocks but the first, in a layer of so many outputs.
    static Index products_size(const Plan& plan, Index outputs) { return (plan.parts - 1) * plan.tile * outputs; }

    // The numbers of a block, of which there are two.
    double& number(int block) { return pair(block)[0]; }
    double* pair(int block) { return numbers_ + 2 * ((numbers_turn_ ? parts_ : 0) + block); }
    // The place of block 1, 2, ..'s product.
    Matrix<Real> product(int block, Index rows, Index cols) const {
        return dense(products_ + (products_turn_ ? products_size_ : 0) + (block - 1) * rows * cols, rows, cols);
    }
    void turn_numbers() { numbers_turn_ = !numbers_turn_; }
    void turn_products() { products_turn_ = !products_turn_; }

  private:
    int parts_;
    double* numbers_;
    Real* products_;
    Index products_size_;
    bool numbers_turn_ = false, products_turn_ = false;
};

}  // namespace fastbp
