// The engine of a build that found neither libzstd nor liblz4: it says so, of logs that are to be compressed and of segments that are, touches
// nothing, and is otherwise whole.
#include <fstream>

#include "support.h"

namespace haulout {
namespace {

void check_refusal(const Result<LogReference>& opened, const std::string& begin, const std::string& codec) {
  CHECK(!opened && opened.error().code == ErrorCode::denied);
  CHECK(opened.error().message == begin + " compressed with " + codec + ", which this build of the engine does not have: install lib" + codec +
                                      " with its header (lib" + codec + "-dev in Debian) and build the engine again");
}

void test_refusals() {
  for (const SegmentCodec codec : kSegmentCodecs) {
    CHECK(!has_codec(codec));
    const TemporaryFolder folder;
    const std::string file = folder / std::string("packed/00000000000000000000.log") + suffix_of(codec);
    Owner owner(folder.path());
    check_refusal(owner.open_log("a", true, 1 << 30, codec), "segments cannot be", name_of(codec));
    std::filesystem::create_directory(folder / "packed");
    std::ofstream(file) << "whatever it holds";
    check_refusal(owner.open_log("packed"), file.substr(0, file.size() - 4) + " is", name_of(codec));
    CHECK(std::filesystem::file_size(file) == 17);

    const LogReference log = *owner.open_log("a");
    const std::vector<uint8_t> entry = make_entry(100, 1);
    CHECK(log->append(entry.data(), entry.size()));
    CHECK(owner.run_until([&] { return log->committed_end_offset() == 1; }));
    CHECK(content_of(owner, log).size() == 100);
    CHECK(!owner.close());
  }
}

}  // namespace
}  // namespace haulout

int main() {
  haulout::test_refusals();
  std::puts("no codecs: fine");
}
