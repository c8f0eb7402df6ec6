// The logs of a store that several threads use: a log is open once in the store, however many opened it. It closes when the last of
// them closes it. Called under the store's lock; every callback runs under it, too.
#pragma once

#include <map>

#include "store.h"

namespace haulout {

class SharedLogs {
 public:
  using Opened = std::function<void(Result<LogReference>)>;

  explicit SharedLogs(Store& store) : store_(store) {}

  // Waits for one that is being opened or closed. Who opens a log that is open must ask for the settings that it has.
  void open(const std::string& name, const LogSettings& settings, Opened done);
  // Once per open(). Before the last one, what was appended so far is brought to stable storage, as by the last.
  void close(const LogReference& log, Done done);
  // Closes the log for all who have it open. Who opens it meanwhile gets a new one.
  void remove(const std::string& name, Done done);

 private:
  struct Waiting {
    LogSettings settings;
    Opened done;
  };

  struct Entry {
    LogSettings settings{};
    // Null while it is being opened.
    LogReference log;
    size_t users_count = 0;
    // It is being closed or removed.
    bool closing = false;
    // Who wants it removed when it is closed.
    std::vector<Done> removals;
    // Who opened it before it could be had.
    std::vector<Waiting> waiting;
  };

  void start(const std::string& name, std::vector<Waiting> waiting);
  void opened(const std::string& name, Result<LogReference> result);
  void closed(const std::string& name);
  void remove_closing(const std::string& name, std::vector<Done> removals);

  Store& store_;
  std::map<std::string, Entry> entries_;
};

}  // namespace haulout
