// The GIL, in threads that may outlive the interpreter. While the interpreter ends, CPython before 3.14 ends every
// other thread that asks for the GIL, by pthread_exit. That unwinds the thread's stack, without the GIL, through
// destructors that change Python objects and through frames that let no exception out, where the C++ runtime ends the
// process. These functions stop the thread instead, as CPython does since 3.14.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace fastbp::python {

namespace py = pybind11;

// Never returns. The thread ends with the process.
[[noreturn]] inline void stop_thread() noexcept {
    for (;;) ::pause();
}

// True in a thread other than the one that ends the interpreter, once it ends. CPython then frees what a thread needs
// to ask for the GIL.
inline bool has_lost_interpreter() noexcept { return Py_IsInitialized() == 0 && ::syscall(SYS_gettid) != ::getpid(); }

// Returns what body() returns. It calls functions of CPython only, and keeps nothing that a destructor gives back.
template <class Body>
auto outlive_interpreter(Body body) {
    if (has_lost_interpreter()) stop_thread();
    try {
        return body();
    } catch (abi::__forced_unwind&) {
        stop_thread();
    }
}

// Releases the GIL for a scope.
class ReleasedGil {
  public:
    ReleasedGil() : thread_(PyEval_SaveThread()) {}
    ~ReleasedGil() {
        outlive_interpreter([this] { PyEval_RestoreThread(thread_); });
    }
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;

  private:
    PyThreadState* const thread_;
};

// Holds the GIL for a scope, in any thread.
class HeldGil {
  public:
    HeldGil() : state_(outlive_interpreter([] { return PyGILState_Ensure(); })) {}
    ~HeldGil() { PyGILState_Release(state_); }
    HeldGil(const HeldGil&) = delete;
    HeldGil& operator=(const HeldGil&) = delete;

  private:
    const PyGILState_STATE state_;
};

// Calls a Python function, in which the thread may lose the GIL and ask for it again.
template <class... Arguments>
py::object call_python(const py::object& function, Arguments&&... arguments) {
    const py::tuple given = py::make_tuple(std::forward<Arguments>(arguments)...);
    PyObject* result = outlive_interpreter([&] { return PyObject_CallObject(function.ptr(), given.ptr()); });
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

}  // namespace fastbp::python
