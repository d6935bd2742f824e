#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "prefork/log.hpp"

namespace prefork::test {

/// Keeps what the log handler gets, for as long as it lives. Made before a pool and destroyed after
/// it: then nobody calls any more.
class log_lines {
  public:
    struct line {
        prefork::level level;
        std::string text;
        pid_t pid;
        std::string pool;
        std::optional<unsigned> worker;
        std::chrono::system_clock::time_point time;
        std::string label;
    };

    log_lines() {
        set_log_handler([this](const log_record& record) {
            const std::lock_guard held{mutex_};
            lines_.push_back({record.level, std::string(record.text), record.pid,
                              std::string(record.pool), record.worker, record.time,
                              std::string(record.label)});
        });
    }
    ~log_lines() { set_log_handler({}); }
    log_lines(const log_lines&) = delete;
    log_lines& operator=(const log_lines&) = delete;

    [[nodiscard]] std::vector<line> all() const {
        const std::lock_guard held{mutex_};
        return lines_;
    }
    [[nodiscard]] std::vector<std::string> texts() const {
        std::vector<std::string> texts;
        for (line& each : all()) texts.push_back(std::move(each.text));
        return texts;
    }
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard held{mutex_};
        return lines_.size();
    }

  private:
    mutable std::mutex mutex_;
    std::vector<line> lines_;
};

}  // namespace prefork::test
