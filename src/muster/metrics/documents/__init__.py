"""What is read off a page: running text, tables, keys and values, outlines, words in boxes; and how it is compared."""
