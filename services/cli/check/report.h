// Collects what each comparison found and prints it as a table.
#ifndef TESSERA_SERVICES_CLI_CHECK_REPORT_H_
#define TESSERA_SERVICES_CLI_CHECK_REPORT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace tessera::check {

// How `worst` of a row is to be read.
enum class Measure {
  kMismatches,  // number of values that differ; passes if at most the tolerance, which is mostly 0
  kAbsoluteError,  // largest |ours - theirs|; passes if at most the tolerance
  kCosine,         // smallest cosine similarity; passes if at least the tolerance
};

struct Row {
  std::string subject;   // "tiny_mha", "processor", …
  std::string quantity;  // "logits", "token ids", …
  Measure measure = Measure::kMismatches;
  double tolerance = 0;
  int64_t cases = 0;
  int64_t failed = 0;  // of the cases
  double worst = 0;
  std::string worst_case;  // where `worst` was seen
  bool passed() const { return failed == 0; }
};

class Report {
 public:
  // Rows added from here on belong to `subject`.
  void SetSubject(std::string subject) { subject_ = std::move(subject); }
  const std::string& subject() const { return subject_; }

  // Adds one case's result to the row of (subject, quantity). NaN fails.
  void Add(const std::string& quantity, Measure measure, double tolerance, double found,
           const std::string& case_name);
  void AddMismatches(const std::string& quantity, int64_t mismatches,
                     const std::string& case_name) {
    Add(quantity, Measure::kMismatches, 0, static_cast<double>(mismatches), case_name);
  }
  // A case that could not be run here, with the reason.
  void Skip(const std::string& case_name, const std::string& reason);

  const std::vector<Row>& rows() const { return rows_; }
  int64_t num_skipped() const { return static_cast<int64_t>(skipped_.size()); }
  bool passed() const;
  void Print(std::ostream& out) const;

 private:
  std::string subject_;
  std::vector<Row> rows_;
  std::vector<std::string> skipped_;
};

}  // namespace tessera::check

#endif  // TESSERA_SERVICES_CLI_CHECK_REPORT_H_
