#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "process/loaded_object.hpp"
#include "process/source_lines.hpp"

// Which function an address lies in. For people: what can't be found out is left empty.

namespace prefork::process {

struct symbol {
    std::string function;  ///< demangled; "" where the file has no symbol for it
    std::uint64_t function_offset = 0;
    std::string file;  ///< of the source; "" where it isn't known
    unsigned line = 0;
    bool inlined = false;             ///< by the compiler, into the next one
    std::string object;               ///< file of the program or library
    std::uint64_t object_offset = 0;  ///< as addr2line -e wants it
};

/// Reads each object's symbol table once; functions that are not exported are known too, unless the
/// file was stripped. Files and lines come from its debug information (source_lines.hpp). A file
/// that is not the one that was loaded, by its build id, says nothing. One thread at a time.
class symbols {
  public:
    symbols();
    ~symbols();
    symbols(const symbols&) = delete;
    symbols& operator=(const symbols&) = delete;

    /// Innermost first: inlined functions, then the one that they were put into. At least one.
    [[nodiscard]] std::vector<symbol> at(const loaded_object& of, std::uint64_t address);

  private:
    class table;
    std::map<std::string, std::unique_ptr<table>> tables_;
    source_lines lines_;
};

/// The function at an address of this process: "parse(int)"; "" when it has no name. As it is
/// shown: std::string is called so.
[[nodiscard]] std::string function_at(std::uint64_t address);

}  // namespace prefork::process
