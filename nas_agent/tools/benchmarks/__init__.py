"""Published benchmark tables: one file each says which tasks it answers, in which space, and how its file is read."""
