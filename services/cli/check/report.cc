#include "services/cli/check/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace tessera::check {
namespace {

bool IsWorse(Measure measure, double found, double worst) {
  if (std::isnan(found)) return true;
  return measure == Measure::kCosine ? found < worst : found > worst;
}

bool Passes(const Row& row, double found) {
  return row.measure == Measure::kCosine ? found >= row.tolerance
                                         : found <= row.tolerance;  // false for NaN
}

std::string Number(const Row& row, double value) {
  std::ostringstream text;
  if (row.measure == Measure::kMismatches) {
    text << static_cast<int64_t>(value) << " differ";
  } else if (row.measure == Measure::kCosine) {
    text << "cos " << std::fixed << std::setprecision(6) << value;
  } else {
    text << std::scientific << std::setprecision(1) << value;
  }
  return text.str();
}

}  // namespace

void Report::Add(const std::string& quantity, Measure measure, double tolerance, double found,
                 const std::string& case_name) {
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& candidate) {
    return candidate.subject == subject_ && candidate.quantity == quantity;
  });
  if (row == rows_.end()) {
    rows_.push_back({subject_, quantity, measure, tolerance, 0, 0, found, case_name});
    row = rows_.end() - 1;
  }
  ++row->cases;
  if (!Passes(*row, found)) ++row->failed;
  if (IsWorse(measure, found, row->worst)) {
    row->worst = found;
    row->worst_case = case_name;
  }
}

void Report::Skip(const std::string& case_name, const std::string& reason) {
  skipped_.push_back(subject_ + "/" + case_name + ": " + reason);
}

bool Report::passed() const {
  return std::all_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.passed(); });
}

void Report::Print(std::ostream& out) const {
  size_t subject_width = 7;
  size_t quantity_width = 8;
  for (const Row& row : rows_) {
    subject_width = std::max(subject_width, row.subject.size());
    quantity_width = std::max(quantity_width, row.quantity.size());
  }
  const auto line = [&](const std::string& subject, const std::string& quantity,
                        const std::string& cases, const std::string& worst,
                        const std::string& tolerance, const std::string& result) {
    out << std::left << std::setw(static_cast<int>(subject_width)) << subject << "  "
        << std::setw(static_cast<int>(quantity_width)) << quantity << "  " << std::right
        << std::setw(6) << cases << "  " << std::setw(14) << worst << "  " << std::setw(14)
        << tolerance << "  " << result << "\n";
  };
  line("subject", "quantity", "cases", "worst", "tolerance", "result");
  for (const Row& row : rows_) {
    const std::string tolerance = row.measure == Measure::kMismatches && row.tolerance == 0
                                      ? "exact"
                                      : Number(row, row.tolerance);
    std::string result = "pass";
    if (!row.passed())
      result = "FAIL (" + std::to_string(row.failed) + " cases, worst: " + row.worst_case + ")";
    line(row.subject, row.quantity, std::to_string(row.cases), Number(row, row.worst), tolerance,
         result);
  }
  for (const std::string& skipped : skipped_) out << "skipped  " << skipped << "\n";
  const auto failed =
      std::count_if(rows_.begin(), rows_.end(), [](const Row& row) { return !row.passed(); });
  out << rows_.size() << " quantities, " << failed << " failed, " << skipped_.size()
      << " cases skipped\n";
}

}  // namespace tessera::check
