#pragma once

#include "mpeft/metrics/spider_database.h"

#include "metrics/spider/schema.h"

namespace mpeft::metrics::spider {

/// Bands and their concerts, as tables.json would have them.
inline SpiderDatabase small_database() {
  SpiderDatabase database;
  database.id = "bands";
  database.tables = {"Band", "Concert", "venue"};
  database.columns = {{-1, "*", "text"},        {0, "Band_ID", "number"},    {0, "Name", "text"},
                      {0, "Members", "number"}, {1, "Concert_ID", "number"}, {1, "Band_ID", "number"},
                      {1, "Year", "number"},    {1, "Venue_ID", "number"},   {2, "Venue_ID", "number"},
                      {2, "Name", "text"},      {2, "Capacity", "number"}};
  database.primary_keys = {1, 4, 8};
  database.foreign_keys = {{5, 1}, {7, 8}};
  return database;
}

inline Schema small_schema() { return schema_of(small_database()); }

}  // namespace mpeft::metrics::spider
