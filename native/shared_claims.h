// What the users of a shared store tell each other: names that one of them holds, whatever they stand for, and what the others are not to
// see of a log yet. Both end with their user. Used under the store's lock.
#pragma once

#include <map>

#include "store.h"

namespace haulout {

class StoreUser;

class SharedClaims {
 public:
  // False when another user holds the name.
  bool claim(const std::string& name, const StoreUser& user);
  void release(const std::string& name, const StoreUser& user);

  // The others do not see what the log has from `offset` on.
  void hide(const LogReference& log, const StoreUser& user, int64_t offset);
  // They do, as soon as all that the log has by now is committed.
  void reveal(const LogReference& log, const StoreUser& user, int64_t offset);
  // Releases and reveals everything of a user that leaves.
  void end(const StoreUser& user);

  // Where the committed entries end that a user sees.
  int64_t visible_end(const SegmentLog& log, const StoreUser& user);

 private:
  struct Hidden {
    std::weak_ptr<SegmentLog> log;
    const StoreUser* user;
    int64_t from;
    // It is seen when the log is committed up to here.
    int64_t until;
  };

  std::map<std::string, const StoreUser*> holders_;
  // Rarely any.
  std::vector<Hidden> hidden_;
};

}  // namespace haulout
