#include "services/cli/top/text_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

using ::testing::ElementsAre;

const std::vector<TableColumn> kColumns = {{"NAME"}, {"ROLE", false, 2}, {"COUNT", true, 1}};
const std::vector<std::vector<TableCell>> kRows = {{{"a"}, {"prefill"}, {"7"}},
                                                   {{"longer"}, {"-"}, {"1234567"}}};

TEST(TextTable, AlignsColumns) {
  EXPECT_THAT(TableLines(kColumns, kRows, 80, false),
              ElementsAre("NAME    ROLE       COUNT",  //
                          "a       prefill        7",  //
                          "longer  -        1234567"));
}

TEST(TextTable, DropsTheLeastImportantFirstAndCutsTheRest) {
  EXPECT_THAT(TableLines(kColumns, kRows, 23, false),
              ElementsAre("NAME      COUNT", "a             7", "longer  1234567"));
  EXPECT_THAT(TableLines(kColumns, kRows, 14, false), ElementsAre("NAME", "a", "longer"));
  EXPECT_THAT(TableLines(kColumns, kRows, 3, false), ElementsAre("NAM", "a", "lon"));
}

TEST(TextTable, ColoursDoNotCount) {
  const std::vector<TableColumn> columns = {{"A"}, {"B"}};
  EXPECT_THAT(TableLines(columns, {{{"xy", TextColor::kRed}, {"z"}}}, 4, true),
              ElementsAre("\033[1mA\033[0m", "\033[31mxy\033[0m"));
}

TEST(TextTable, NothingSteersTheTerminal) {
  EXPECT_EQ(Printable("a\033[2Jb\n\xc3\xa9"), "a?[2Jb???");
}

}  // namespace
}  // namespace tessera::cli
