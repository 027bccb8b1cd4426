-- A place in the queue is one item's: known to be so, it is looked for by index before anybody has counted what is in the table.
DROP INDEX stepwell.items_in_order;
CREATE UNIQUE INDEX items_by_place ON stepwell.items (seq);
