// One boot: a machine, a store on it, and somebody who works with it and keeps the promise's books.
#pragma once

#include "simulation.h"

namespace haulout {

class Life {
 public:
  Life(Simulation& simulation, Snapshot snapshot, int depth, const Trouble& trouble);
  // As if the process were killed, but nothing that is still under way has any effect.
  ~Life();

  // Opens the store and every log in it, and holds them against the promise. False when trouble kept it from that.
  bool boot();
  void work(int count);
  // A clean close: after it everything is kept.
  void close();
  // No new faults from here on.
  void calm();

  const int depth;
  // Crash states are made of its steps.
  bool explores = false;
  Machine machine;
  StorePromise promise;

 private:
  struct OpenLog {
    LogReference log;
    bool durable;
  };

  template <typename Condition>
  bool until(Condition condition);
  void turn();
  template <typename Value>
  std::optional<Result<Value>> ask(const std::function<void(std::function<void(Result<Value>)>)>& request);
  bool open_store();
  bool open_log(const std::string& name);
  void verify(const LogReference& log);
  void verify_timestamps(const LogReference& log, const LogPromise& promised);
  bool expect(const Error& error, const std::string& action);
  void acknowledge(SegmentLog& log);

  void append(OpenLog& open);
  void flush(const OpenLog& open);
  void roll(const OpenLog& open);
  Done keeps_what_is_there(const std::string& what, const OpenLog& open);
  int64_t some_offset(const OpenLog& open);
  void truncate(const OpenLog& open, int64_t offset);
  void wear(OpenLog& open);
  void reopen(const std::string& name);
  void remove(const std::string& name);
  void rename(const std::string& from);
  void wait_for_commit();
  std::string some_name();
  void keep(const std::string& name, int64_t offset);
  LogPromise& promise_of(const std::string& name);
  bool is_usable(const std::string& name) const;

  Simulation& simulation_;
  Random& random_;
  StoreOptions options_;
  bool armed_ = false;
  bool troubled_;
  // The disk is full at times, and that is all.
  bool only_full_;
  // Logs have many small segments, which come and go.
  bool is_short_lived_;
  std::map<std::string, OpenLog> logs_;
  // Renames and removals that failed half-way: nobody knows before the next boot.
  std::set<std::string> unclear_;
  std::unique_ptr<Store> store_;
};

}  // namespace haulout
