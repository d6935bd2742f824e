#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

// Which function an address lies in. For people: what can't be found out is left empty.

namespace prefork::process {

struct symbol {
    std::string function;  ///< demangled; "" where the file has no symbol for it
    std::uint64_t function_offset = 0;
    std::string object;  ///< file of the program or library; "" when no code is mapped there
    std::uint64_t object_offset = 0;  ///< as addr2line -e wants it
};

/// Of this process. Reads each file's symbol table, once; functions that are not exported are known
/// too, unless the file was stripped. One thread at a time.
class symbols {
  public:
    symbols();
    ~symbols();
    symbols(const symbols&) = delete;
    symbols& operator=(const symbols&) = delete;

    [[nodiscard]] symbol at(std::uint64_t address);

  private:
    class table;
    std::map<std::string, std::unique_ptr<table>> tables_;
};

}  // namespace prefork::process
