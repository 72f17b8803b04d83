/* fastbp: backpropagation for fully connected networks. The C interface, and the only door of libfastbp.so.
 *
 * Conventions
 *   - Functions that can fail return a fastbp_status; fastbp_last_error() then says why, in this thread. A refused call
 *     has changed nothing. Nothing is printed, nothing is thrown, the process is never ended.
 *   - Structs that cross the door begin with their size; fill it with sizeof. Clear the rest with memset or = {0}:
 *     zero is the default of every field. So a program works with a later library, whose structs have more fields at
 *     their end, and with an earlier one as long as it sets no field that this one lacks.
 *   - Parameters and gradients are flat arrays of fastbp_parameter_count() numbers of the net's type:
 *     w(1) b(1) w(2) b(2) .., row-major, w(l) of shape (d(l-1), d(l)). The caller owns them and passes them to each
 *     call.
 *   - Any number of threads may use one net at a time: a net holds no parameters and no results.
 *   - Outputs are row-major without gaps. A call is refused if an output overlaps anything else that the call reads or
 *     writes: data, the order, parameters, directions, moments, kept values, learning rates or another output. A
 *     strided array reaches from its first number to its last. Inputs may overlap.
 *   - The child of a fork may use every net of its parent on "cpu", whatever other threads did at the moment of the
 *     fork. A program may exit while threads are in calls. The library stays in memory after dlclose.
 *   - Calls compute in the default floating-point mode (round to nearest, subnormal numbers kept, no traps), whatever
 *     the mode of the calling thread is, and leave that as it was.
 *   - A thread that is cancelled (pthread_cancel) during a call ends at its first cancellation point after the call.
 * Symbols and equation numbers are those of NOTATION.md, installed beside this file. */
#ifndef FASTBP_H
#define FASTBP_H

#include "fastbp/types.h"

#if defined(_WIN32)
#define FASTBP_API
#else
#define FASTBP_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fastbp_activation {
    FASTBP_IDENTITY = 0,
    FASTBP_LOGISTIC = 1,
    FASTBP_TANH = 2,
    FASTBP_RELU = 3,
    FASTBP_LEAKY_RELU = 4,
    FASTBP_ELU = 5,
    FASTBP_GELU = 6,
    FASTBP_SILU = 7,
    FASTBP_SOFTPLUS = 8,
    FASTBP_SINE = 9,
    FASTBP_EXP = 10,    /* last layer only */
    FASTBP_SOFTMAX = 11 /* last layer only */
} fastbp_activation;

typedef enum fastbp_loss {
    FASTBP_NO_LOSS = 0, /* none, or a function given with the data */
    FASTBP_SQUARED_ERROR = 1,
    FASTBP_CROSS_ENTROPY = 2,
    FASTBP_POISSON = 3,
    FASTBP_HUBER = 4,
    FASTBP_ABSOLUTE_ERROR = 5,
    FASTBP_PINBALL = 6
} fastbp_loss;

/* ---- the library --------------------------------------------------------------------------------------------- */

FASTBP_API const char* fastbp_version(void);
/* Text that names this very build; plugins must carry the same. */
FASTBP_API const char* fastbp_build_id(void);
/* Why the last call of this thread failed; "" after a success. Valid until the thread's next call. */
FASTBP_API const char* fastbp_last_error(void);

typedef struct fastbp_config {
    size_t size;
    const char* isa;          /* instruction set of the elementwise kernels */
    const char* blas;         /* bundled, scipy, system, none or a path: see FASTBP_BLAS */
    const char* blas_library; /* the file it was loaded from, "" where unknown */
    const char* blas_core;    /* OpenBLAS's name for this processor, "" where unknown */
} fastbp_config;

/* What the CPU backend runs on. The texts live as long as the process. */
FASTBP_API fastbp_status fastbp_get_config(fastbp_config* config);

/* Offers a BLAS that the caller has loaded, by its Fortran functions sgemm and dgemm; used where FASTBP_BLAS is `name`.
 * To be called before the first net is made. */
FASTBP_API fastbp_status fastbp_offer_blas(const char* name, void* sgemm, void* dgemm);

/* fastbp_get_num_threads returns how many threads a call of the calling thread may use: the limit of that thread, else
 * the number set for the process, else FASTBP_NUM_THREADS, else OMP_NUM_THREADS, else the processors that thread may
 * run on: its affinity and the quota of its control groups. Calls follow a change of the affinity within 10 ms, and a
 * change of the quota within a second. The variables are read when the library is loaded. fastbp_set_num_threads sets
 * the number for the process. n may exceed the number of processors; n = 0 restores the default. */
FASTBP_API int32_t fastbp_get_num_threads(void);
FASTBP_API fastbp_status fastbp_set_num_threads(int32_t n);

/* The limit of the calling thread: how many threads its calls may use. No other thread is affected. The limit replaces
 * the number of the process, even if the limit is larger. 0 means no limit; every new thread starts with 0. To limit a
 * few calls, read the limit, set another one, and restore the former one afterwards. A framework may call fastbp from
 * its own threads, which have no limit: use fastbp_set_num_threads then. */
FASTBP_API int32_t fastbp_get_thread_limit(void);
FASTBP_API fastbp_status fastbp_set_thread_limit(int32_t n);

/* How many jobs each member of the thread pool has taken since it was started: the first `size` of them into counts
 * (member 0 stands for all calling threads). Returns how many members there are. */
FASTBP_API int32_t fastbp_jobs_taken(int64_t* counts, int32_t size);

/* ---- devices --------------------------------------------------------------------------------------------------
 *
 * A device is "cpu", or "cuda", which is "cuda:0", or another number. A net's parameters, kept values and results lie
 * in the memory of its device; data may lie there or in the process's memory, as fastbp_array.on_device says. Order,
 * learning rates and everything else of a call lie in the process's memory.
 *
 * A call on "cuda" follows what the caller has enqueued on its stream. It waits for the device where it returns numbers
 * in the process's memory (a loss), where it looks at targets or weights that lie on the device, and, for data in the
 * process's memory, until they are copied; other results are there when the stream has come that far. */

/* FASTBP_RUNTIME_ERROR where no net can be made there; fastbp_last_error says what is missing and what brings it. */
FASTBP_API fastbp_status fastbp_check_device(const char* device);

/* Memory of the device, and copies from and to the process's, which are done when they return. */
FASTBP_API fastbp_status fastbp_allocate(const char* device, size_t bytes, void** memory);
FASTBP_API void fastbp_release(const char* device, void* memory);
FASTBP_API fastbp_status fastbp_upload(const char* device, const void* from, void* to, size_t bytes);
FASTBP_API fastbp_status fastbp_download(const char* device, const void* from, void* to, size_t bytes);
/* Copies from one place in the device's memory (on "cpu": the process's) to another, which must not overlap it. On
 * "cuda" the bytes are there when the stream has come that far: nothing waits, and nothing goes through the process.
 * Where bytes is 0, here and above, nothing is done and no pointer is looked at. */
FASTBP_API fastbp_status fastbp_copy(const char* device, const void* from, void* to, size_t bytes);
/* to = the numbers of `from`, which lie on the device or, as on_device says, in the process's memory: converted to
 * `type`, float32 or float64, in memory of the device that does not overlap them, row-major without gaps. */
FASTBP_API fastbp_status fastbp_load(const char* device, const fastbp_array* from, int32_t type, void* to);
/* Waits for all that was enqueued on this thread's stream. */
FASTBP_API fastbp_status fastbp_synchronize(const char* device);

/* The stream, a cudaStream_t, of this thread's calls from now on; NULL, as at first: the device's default stream. */
FASTBP_API void fastbp_set_stream(void* stream);
FASTBP_API void* fastbp_get_stream(void);

/* How products of float32 nets may be computed; the parameters stay float32. */
typedef enum fastbp_precision {
    FASTBP_FULL_PRECISION = 0,
    FASTBP_TF32 = 1, /* on "cuda" only: factors with 10 bits behind the point */
    FASTBP_BF16 = 2  /* on "cuda" only: factors rounded to bfloat16, sums in float32 */
} fastbp_precision;

/* ---- a net --------------------------------------------------------------------------------------------------- */

typedef struct fastbp_net fastbp_net;

/* Threads of the caller's own that carry out a net's calls in place of fastbp's: for programs whose pool waits
 * spinning, as OpenMP's threads do. The pool calls take(job, index, width) for every index < width at the same time,
 * index 0 on the calling thread, and returns when all have returned. It chooses the width; results do not depend on it.
 * It should throw no exception: a call whose pool throws waits for the threads at work, and returns
 * FASTBP_RUNTIME_ERROR. */
typedef void (*fastbp_take)(void* job, int32_t index, int32_t width);
typedef void (*fastbp_pool)(void* context, fastbp_take take, void* job);

typedef struct fastbp_net_spec {
    size_t size;
    const char* device;                  /* NULL: "cpu" */
    int32_t type;                        /* fastbp_type of parameters and results */
    int32_t layers;                      /* L */
    const int64_t* widths;               /* d(0) .. d(L) */
    const int32_t* activations;          /* L of fastbp_activation */
    const double* activation_parameters; /* L; NULL: 0.01 for leaky_relu, 1 for elu */
    int32_t loss;                        /* fastbp_loss */
    int32_t deterministic;               /* not 0: the same bits for any number of threads */
    const double* loss_parameters;       /* d(L): huber's delta or pinball's quantile; NULL where the loss has none */
    double l2, l1;                       /* penalties on the weights */
    int32_t weights_by_outputs; /* not 0: w(l) lies as (d(l), d(l-1)), as in torch, in params and every gradient */
    int32_t precision;          /* fastbp_precision */
    const double* dropout;      /* L: the part of each layer's units a training step drops, the last 0; NULL: none */
    fastbp_pool pool;           /* asked where a call is worth more threads than one; NULL: fastbp's own */
    void* pool_context;         /* handed to `pool`; lives as long as the net */
} fastbp_net_spec;

FASTBP_API fastbp_status fastbp_net_create(const fastbp_net_spec* spec, fastbp_net** net);
FASTBP_API void fastbp_net_destroy(fastbp_net* net);
/* P = sum of (d(l-1) + 1) d(l); 0 where net is NULL. */
FASTBP_API int64_t fastbp_parameter_count(const fastbp_net* net);
/* How many numbers fastbp_forward keeps for fastbp_pull_back over n rows; 0 where net is NULL. */
FASTBP_API int64_t fastbp_kept_size(const fastbp_net* net, int64_t n);

/* ---- forward and backward ------------------------------------------------------------------------------------------
 */

/* Callbacks: a poll, a loss function and a grad_hook run on the calling thread during the call, one at a time.
 *   - A callback may block: other threads of the call wait for it. It may read everything of the call, and write what
 *     its description names, but neither parameters nor moments.
 *   - A callback runs in the floating-point mode of the calling thread. If it changes the mode, the change outlives the
 *     call.
 *   - A callback may fork. The child may make calls of its own, but the call that the callback belongs to returns
 *     FASTBP_RUNTIME_ERROR in the child if it uses a team, and never returns if the team is a fastbp_pool's.
 *   - A callback may call fastbp, with any net and outputs of its own. Such a call may get one thread only. On "cuda"
 * it must not.
 *   - A C++ exception that a callback throws is caught: the call ends as if the callback had asked for that, and the
 *     exception is lost. A callback must not end its thread (pthread_exit) or jump out of the call (longjmp). */

/* Asked between tiles; not 0: stop, the call returns FASTBP_INTERRUPTED. */
typedef int (*fastbp_poll)(void* context);

/* A loss as a function, instead of the net's: fills e (count) with each row's loss and dx (count, d(L)) with its
 * derivative by x(L), given x = x(L) (count, d(L)); x and dx are of the net's type. The rows are order[first ..
 * first + count), or first .. where order is NULL. Not 0: it failed, the call returns FASTBP_INTERRUPTED. */
typedef int (*fastbp_loss_function)(void* context, const int64_t* order, int64_t first, int64_t count, const void* x,
                                    double* e, void* dx);

/* The rows to work on. y: (N, d(L)) numbers, or (N,) numbers where d(L) = 1 or class numbers 0..d(L)-1 where the output
 * is softmax. sample_weight: (N,) or (N, d(L)), not given: all 1. A row, or an output, of weight 0 contributes exactly
 * 0 to the loss and to every derivative, even if its x, its y, its direction or a loss function's values for it are
 * nan. The results s, x and output_dot of such a row are not masked. A cotangent has no weights. */
typedef struct fastbp_data {
    size_t size;
    fastbp_array x;
    fastbp_array y;
    fastbp_array sample_weight;
    const int64_t* order; /* `count` row numbers; NULL: all rows as they lie */
    int64_t count;
    fastbp_loss_function loss_function; /* y is then not looked at */
    void* loss_context;
    fastbp_poll poll;
    void* poll_context;
    /* L pointers each, where params is NULL: w(l) and b(l) that do not lie in one array. Not for fastbp_run_epoch, nor
     * for a net with penalties. Directions are flat all the same. */
    const void* const* weights;
    const void* const* biases;
} fastbp_data;

/* What to compute, and where to put it; NULL: not wanted. s, x and deltas are lists of L arrays (N, d(l)) of the net's
 * type, each of which may be NULL. */
typedef struct fastbp_results {
    size_t size;
    int32_t sum; /* not 0: loss = sum of c_n e_n, no penalty; else the mean over c, penalties added to value and grad */
    int32_t accumulate; /* not 0: the gradient is added to grad; else it overwrites */
    void* grad;         /* (P,) */
    void* input_grad;   /* (N, d(0)): (7) */
    void* const* s;
    void* const* x;
    void* const* deltas;
    double* example_loss;      /* (N,): e_n before weights and mean; 0 if the row's weight is 0 */
    double* example_grad_norm; /* (N,): the norm of e_n's own gradient by the parameters; 0 where the row's weight is 0.
                                  Weights of single outputs belong to e_n here */
    double max_example_norm;   /* > 0: rows whose norm is larger are scaled down to it before they are added to grad */
    double value, loss;        /* filled in by fastbp_evaluate: the loss with and without penalties */
    /* L pointers each, where grad is NULL: where the gradients by w(l) and b(l) go that shall not lie in one array.
     * Not for a net with penalties. */
    void* const* weight_grads;
    void* const* bias_grads;
} fastbp_results;

/* Says whether the data fit the net, as the calls below do before they start: X and the order for a forward pass; with
 * targets not 0 also y and the weights for a mean, with FASTBP_CHECK_SUM for a sum (where weights may be negative). */
enum { FASTBP_CHECK_ROWS = 0, FASTBP_CHECK_MEAN = 1, FASTBP_CHECK_SUM = 2 };
FASTBP_API fastbp_status fastbp_check(const fastbp_net* net, const fastbp_data* data, int32_t targets);

/* (1)(2): x(L) (N, d(L)) into out, which may be NULL where kept is not; s and x of all layers into kept
 * (fastbp_kept_size numbers), which may be NULL. */
FASTBP_API fastbp_status fastbp_forward(const fastbp_net* net, const void* params, const fastbp_data* data, void* out,
                                        void* kept);

/* (1) to (7): the loss and whatever of its derivatives the results ask for. */
FASTBP_API fastbp_status fastbp_evaluate(const fastbp_net* net, const void* params, const fastbp_data* data,
                                         fastbp_results* results);

/* (3) to (7) from a kept forward pass and the caller's cotangent de/dx(L) (N, d(L)): grad and input_grad of the
 * results. data.x must be as it was in fastbp_forward. */
FASTBP_API fastbp_status fastbp_pull_back(const fastbp_net* net, const void* params, const fastbp_data* data,
                                          const void* kept, const fastbp_array* cotangent, fastbp_results* results);

/* Derivatives along a direction in parameters and inputs (the R-operator), and where to put them; NULL: not wanted.
 * output_dot is the Jacobian-vector product. grad_dot is the derivative of the gradient: of value, or of loss where sum
 * is not 0; with a cotangent (N, d(L)) of the gradient of sum cotangent * x(L) instead, and y is not looked at. So it
 * is the Hessian-vector product for a params_dot alone, and for an x_dot alone the gradient of sum x_dot * input_grad.
 */
typedef struct fastbp_tangent {
    size_t size;
    int32_t sum;            /* as in fastbp_results */
    int32_t gauss_newton;   /* not 0: grad_dot is J^T H J params_dot, with H the Hessian of the loss by the output */
    const void* params_dot; /* (P,); NULL: 0 */
    fastbp_array x_dot;     /* (N, d(0)); without data: 0 */
    fastbp_array cotangent;
    void* output_dot;     /* (N, d(L)): (8) */
    void* grad_dot;       /* (P,): (11) */
    void* input_grad_dot; /* (N, d(0)): the derivative of (7) */
} fastbp_tangent;

/* (8) to (11). A loss given as a function has no second derivative: refused unless only output_dot is wanted. */
FASTBP_API fastbp_status fastbp_push_forward(const fastbp_net* net, const void* params, const fastbp_data* data,
                                             fastbp_tangent* tangent);

/* ---- training -------------------------------------------------------------------------------------------------------
 */

typedef enum fastbp_optimizer {
    FASTBP_SGD = 0,
    FASTBP_ADAM = 1,
    FASTBP_RMSPROP = 2,
    FASTBP_ADAGRAD = 3,
    FASTBP_ADAMW = 4,
    FASTBP_RPROP = 5
} fastbp_optimizer;

/* torch.optim's names and formulas, which NOTATION.md lists with the fields that each kind reads. */
typedef struct fastbp_step_rule {
    size_t size;
    int32_t kind; /* fastbp_optimizer */
    int32_t nesterov;
    int32_t centered;
    int32_t reserved;
    double momentum, dampening, weight_decay, beta1, beta2, eps;
    double alpha, lr_decay;
    double eta_minus, eta_plus, step_size_min, step_size_max; /* etas and step_sizes of Rprop */
} fastbp_step_rule;

/* How many arrays (P,) the rule keeps between steps. The caller fills them before the first step: with zeros, but for
 * the sum of Adagrad (moments[0]), which starts at initial_accumulator_value, and the step sizes of Rprop (moments[1]),
 * which start at its lr; Rprop does not look at the lr of a step. Negative: not a rule, because it is NULL, of an
 * unknown kind, or has a number that its kind cannot use. Numbers must be finite and not negative; beta1, beta2 and
 * alpha are below 1. */
FASTBP_API int32_t fastbp_moment_count(const fastbp_step_rule* rule);

/* One step on `count` numbers of the type in the device's memory (NULL: "cpu"): params from grad, with the learning
 * rate lr >= 0; step counts from 1. Returns FASTBP_FLOATING_POINT_ERROR, and changes nothing, if a number of grad is
 * not finite or too large, as fastbp_refused says. */
FASTBP_API fastbp_status fastbp_update(const fastbp_step_rule* rule, const char* device, int32_t type, int64_t count,
                                       void* params, const void* grad, void* const* moments, double lr, int64_t step);

/* Called on the calling thread when a step's gradient is complete, penalties included and before clipping: for each
 * layer from L-1 down to 0 with its part (w and b, `count` numbers of the net's type), which may be written. Not 0: it
 * failed, the step is not made and the call returns FASTBP_INTERRUPTED. */
typedef int (*fastbp_grad_hook)(void* context, int32_t layer, void* grad, int64_t count);

/* Why a call of fastbp_run_epoch returned FASTBP_FLOATING_POINT_ERROR. A finite number of a gradient is too large if
 * its square does not fit into a moment, or its product with a learning rate above 1 does not fit into a parameter. */
typedef enum fastbp_refused {
    FASTBP_REFUSED_NOTHING = 0,
    FASTBP_REFUSED_LOSS = 1,          /* not finite */
    FASTBP_REFUSED_GRADIENT = 2,      /* not finite, penalties and the grad_hook's changes included */
    FASTBP_REFUSED_LARGE_GRADIENT = 3 /* finite */
} fastbp_refused;

typedef struct fastbp_epoch {
    size_t size;
    fastbp_step_rule rule;
    void* const* moments;
    int64_t batch_size;
    int32_t drop_last; /* not 0: a last mini-batch of fewer rows is left out */
    int32_t
        penalties_by_weight; /* not 0: l2 and l1 are divided by each mini-batch's sum of weights, as in scikit-learn */
    const double* lr;        /* one per step, finite and >= 0 */
    double max_grad_norm; /* > 0: a gradient of a larger norm is scaled down to it, as torch's clip_grad_norm_ does */
    double max_example_norm; /* as in fastbp_results */
    fastbp_grad_hook grad_hook;
    void* hook_context;
    uint64_t seed; /* of dropout */
    int64_t step;  /* in and out: steps done */
    /* filled in, also where the epoch ends early or is refused, then with 0 */
    double loss_sum, weight_sum; /* sum of c_n e_n and of c_n over the mini-batches as they were met */
    double* values;              /* of each mini-batch before its step, penalties included; NULL: not wanted */
    int64_t steps_done;          /* mini-batches; moves on during the call, for poll to look at */
    int32_t refused;             /* fastbp_refused: why mini-batch steps_done (from 0) made no step */
    int32_t refused_layer;       /* k of the layer (weights[k]) whose gradient was refused, -1 otherwise */
    /* (P,) in the memory of the net's device: where grad_hook finds each step's gradient, which is left there. NULL:
     * memory of fastbp's, which is valid during a call of grad_hook only. Without grad_hook it is not used. */
    void* grad;
} fastbp_epoch;

/* Trains params in place over the rows in their order, one step per mini-batch; a step's loss is the mean over its
 * weights, plus the penalties. Ends early if a loss or a gradient is not finite, or if a callback asks to stop.
 * Parameters and moments are then those after the last complete step. */
FASTBP_API fastbp_status fastbp_run_epoch(const fastbp_net* net, void* params, const fastbp_data* data,
                                          fastbp_epoch* epoch);

#ifdef __cplusplus
}
#endif

#endif /* FASTBP_H */
