"""Networks side by side, published and measured: rows, documents, and a picture."""
