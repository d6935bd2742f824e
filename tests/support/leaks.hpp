#pragma once

#include <unistd.h>

#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "support/catch.hpp"
#include "support/until.hpp"

#if defined(__SANITIZE_THREAD__)
#define PREFORK_TEST_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PREFORK_TEST_TSAN
#endif
#endif

namespace prefork::test {

/// Fails the test when something that this process did not have at construction is left: an open
/// descriptor, a mapped memfd, a child (a zombie too), a thread, a name of ours in /dev/shm.
///
///     const leaks guard;      // first, so that everything else is gone when it looks
///
/// What ends by itself is given `bound` to do so: a joined thread stays in /proc for a moment.
class leaks {
  public:
    explicit leaks(std::chrono::milliseconds bound = std::chrono::seconds(5)) : bound_(bound) {}
    ~leaks() {
        // A test that throws has failed already, with objects half built.
        if (!checked_ && std::uncaught_exceptions() == 0) check();
    }
    leaks(const leaks&) = delete;
    leaks& operator=(const leaks&) = delete;

    /// Now instead of in the destructor.
    void check() {
        checked_ = true;
        static_cast<void>(until([&] { return left().empty(); }, bound_));
        CHECK(left() == "");
    }

    /// One line for each thing left; "" when there is none.
    [[nodiscard]] std::string left() const {
        std::string text;
        std::multiset<std::string> old = before_;
        for (const std::string& each : everything()) {
            if (const auto known = old.find(each); known != old.end()) {
                old.erase(known);
            } else {
                text += each + '\n';
            }
        }
        return text;
    }

  private:
    using names = std::multiset<std::string>;

    static names everything() {
        start_sanitizer_thread();
        names found;
        add_descriptors(found);
        add_mappings(found);
        add_threads_and_children(found);
        add_shared_names(found);
        return found;
    }

    template <class Visit>
    static void for_each_entry(const std::string& folder, Visit visit) {
        std::error_code error;  // entries vanish while we look
        for (std::filesystem::directory_iterator at{folder, error}, end; !error && at != end;
             at.increment(error)) {
            visit(at->path());
        }
    }

    // ThreadSanitizer starts a thread of its own with the first of ours, and keeps it.
    static void start_sanitizer_thread() {
#ifdef PREFORK_TEST_TSAN
        static const bool started = (std::thread{[] {}}.join(), true);
        static_cast<void>(started);
#endif
    }

    static void add_descriptors(names& to) {
        for_each_entry("/proc/self/fd", [&](const std::filesystem::path& each) {
            std::error_code error;
            const auto target = std::filesystem::read_symlink(each, error);
            // The one that lists them is gone by now.
            if (error || target.filename() == "fd") return;
            to.insert("descriptor " + each.filename().string() + ": " + target.string());
        });
    }

    static void add_mappings(names& to) {
        std::ifstream maps{"/proc/self/maps"};
        std::set<std::string> inodes;  // one mapping is several lines once its access differs
        for (std::string line; std::getline(maps, line);) {
            const auto name = line.find("/memfd:");
            if (name == std::string::npos) continue;
            const auto inode_end = line.find_last_of("0123456789", name);
            const auto inode_begin = line.find_last_of(' ', inode_end) + 1;
            const std::string inode = line.substr(inode_begin, inode_end + 1 - inode_begin);
            if (inodes.insert(inode).second) {
                to.insert("mapping " + line.substr(name) + ", inode " + inode);
            }
        }
    }

    static void add_threads_and_children(names& to) {
        for_each_entry("/proc/self/task", [&](const std::filesystem::path& each) {
            to.insert("thread " + each.filename().string());
            std::ifstream list{each / "children"};
            for (std::istream_iterator<std::string> child{list}, end; child != end; ++child) {
                to.insert("child " + *child);
            }
        });
    }

    // Of this process: other programs of the machine make names there too.
    static void add_shared_names(names& to) {
        for_each_entry("/dev/shm", [&](const std::filesystem::path& each) {
            const std::string name = each.filename().string();
            if (name.find("prefork") != std::string::npos ||
                name.find(std::to_string(::getpid())) != std::string::npos) {
                to.insert("name /dev/shm/" + name);
            }
        });
    }

    std::chrono::milliseconds bound_;
    names before_ = everything();
    bool checked_ = false;
};

}  // namespace prefork::test
