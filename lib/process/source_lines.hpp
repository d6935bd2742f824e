#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "process/loaded_object.hpp"

namespace prefork::process {

/// A function that was running, and where.
struct source_place {
    std::string function;  ///< mangled, or as the source has it; may be empty
    std::string file;      ///< "" where the line is not known
    unsigned line = 0;
    bool inlined = false;  ///< into the next one
};

/// Files and lines, from the debug information of programs and libraries: in the file itself, or in
/// the one that /usr/lib/debug has for its build id. Nothing is fetched.
///
/// By libdw of elfutils. It is opened by its name with the first object, so that a program needs it
/// neither to be built nor to run; where it is missing, nothing is known here. One thread at a
/// time.
class source_lines {
  public:
    source_lines();
    ~source_lines();
    source_lines(const source_lines&) = delete;
    source_lines& operator=(const source_lines&) = delete;

    /// Innermost first: what the compiler has put into the function before the function itself.
    /// `file` is the object's, open; it is borrowed.
    [[nodiscard]] std::vector<source_place> at(const loaded_object& of, int file,
                                               std::uint64_t address);

  private:
    class session;
    std::unique_ptr<session> session_;
};

/// Whether libdw is there.
[[nodiscard]] bool has_source_lines();

}  // namespace prefork::process
