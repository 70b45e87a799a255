"""What people read: tables, figures, pages, their wording, published numbers."""
