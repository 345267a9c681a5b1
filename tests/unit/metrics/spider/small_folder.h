#pragma once

#include <filesystem>
#include <sqlite3.h>
#include <stdexcept>
#include <string>

#include "support/temporary_folder.h"

namespace mpeft::metrics::spider {

/// Makes an SQLite file from statements.
inline void make_database(const std::filesystem::path& path, const std::string& statements) {
  std::filesystem::create_directories(path.parent_path());
  sqlite3* connection = nullptr;
  const bool done = sqlite3_open(path.c_str(), &connection) == SQLITE_OK &&
                    sqlite3_exec(connection, statements.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  const std::string problem = done ? "" : sqlite3_errmsg(connection);
  sqlite3_close(connection);
  if (!done) throw std::runtime_error(problem);
}

/// Spider's layout with the one database of small_schema.h, whose name has a character that URIs escape.
class SmallFolder {
 public:
  SmallFolder() {
    folder_.write("tables.json", R"([
      {"db_id": "bands", "table_names_original": ["Band", "Concert", "venue"],
       "column_names_original": [[-1, "*"], [0, "Band_ID"], [0, "Name"], [0, "Members"], [1, "Concert_ID"],
         [1, "Band_ID"], [1, "Year"], [1, "Venue_ID"], [2, "Venue_ID"], [2, "Name"], [2, "Capacity"]],
       "column_types": ["text", "number", "text", "number", "number", "number", "number", "number", "number", "text",
         "number"], "primary_keys": [1, 4, 8], "foreign_keys": [[5, 1], [7, 8]]},
      {"db_id": "absent", "table_names_original": ["t"], "column_names_original": [[-1, "*"], [0, "a"]],
       "column_types": ["text", "number"], "primary_keys": [], "foreign_keys": []}])");
    make_database(database(), R"(
      CREATE TABLE Band (Band_ID INTEGER PRIMARY KEY, Name TEXT, Members INTEGER);
      CREATE TABLE venue (Venue_ID INTEGER PRIMARY KEY, Name TEXT, Capacity REAL);
      CREATE TABLE Concert (Concert_ID INTEGER PRIMARY KEY, Band_ID INTEGER, Year INTEGER, Venue_ID INTEGER);
      CREATE VIEW big AS SELECT * FROM Band WHERE Members > 3;
      INSERT INTO Band VALUES (1, 'The Owls', 4), (2, 'Pebble', 2), (3, 'Nine Lamps', 4), (4, NULL, 5);
      INSERT INTO venue VALUES (1, 'Barn', 200), (2, 'Hall', 1500.5), (3, 'Field', 9000);
      INSERT INTO Concert VALUES (1, 1, 2019, 1), (2, 1, 2020, 2), (3, 2, 2020, 1), (4, 3, 2021, 3);)");
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path database() const { return folder_.path() / "database/bands/bands.sqlite"; }

 private:
  test::TemporaryFolder folder_;
};

}  // namespace mpeft::metrics::spider
